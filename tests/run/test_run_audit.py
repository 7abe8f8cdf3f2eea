"""What an auditor does with a published run: follow it back, and find every byte that is not what it was."""

from __future__ import annotations

import json
import random
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from audit_support import (
    blob,
    broken,
    checked,
    edit_counts,
    edit_row_group,
    edit_settings,
    edit_source,
    flipped,
    spoil,
)
from run_support import BASE, HubAddress, backforth, small_recipe, write_recipe

from hub_tools.errors import HubError
from hub_tools.hub.digests import sha256
from hub_tools.hub.provenance import to_bytes
from hub_tools.hub.publishing import SEAL
from hub_tools.hub.repository import Hub, Ref
from hub_tools.hub.trace import trace
from hub_tools.hub.verify import verify

DATASETS = ["seed", "responses", "backtranslate", "curate", "rewrite", "mix"]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, hub: HubAddress) -> Path:
    """A run whose endpoints serve the base itself: everything but the first two trainings."""
    folder = tmp_path_factory.mktemp("audit")
    recipe = small_recipe(folder, hub, "audit")
    for endpoint in recipe["endpoints"].values():
        endpoint["model"] = BASE
    recipe["stages"] = {name: recipe["stages"][name] for name in [*DATASETS, "train-final"]}
    recipe["stages"]["train-final"]["steps"] = 2
    path = write_recipe(folder, recipe)
    done = backforth(hub, "run", str(path))
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture
def client(published: Path, hub: HubAddress) -> Hub:
    return Hub(hub.endpoint, hub.token)


def rewritten(client: Hub) -> Ref:
    return client.locate("demo/audit-rewritten@v1")


def test_a_whole_run_verifies_down_to_the_corpus(published: Path, client: Hub, hub: HubAddress) -> None:
    done = backforth(hub, "verify", "demo/audit-final-1m")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "everything that was checked matches" in done.stdout
    assert "not checked: 1 repo of others, 2 sources" in done.stdout
    found = checked(client, client.locate("demo/audit-final-1m"))
    assert set(found) == {*DATASETS, "train-final", BASE, "trees.jsonl", "corpus.jsonl"}
    assert not any(one.broken for one in found.values())
    assert found[BASE].findings[0].note


def test_verify_names_the_row_group_that_was_changed(client: Hub, hub: HubAddress) -> None:
    ref = rewritten(client)
    name = "data/rewritten/train-00000-of-00001.parquet"
    with flipped(blob(client, hub, ref, name), 100):
        ((repo, file, group, what),) = broken(client, ref)
        done = backforth(hub, "verify", "demo/audit-rewritten@v1", "--json")
    assert (repo, file, group) == ("demo/audit-rewritten@v1", name, 0)
    assert "rows 0 to" in what
    assert done.returncode == 1
    assert not json.loads(done.stdout)["whole"]


def test_verify_finds_a_change_far_below_the_repo_that_is_asked_for(client: Hub, hub: HubAddress) -> None:
    seed = client.locate("demo/audit-seed@v1")
    path = blob(client, hub, seed, "data/seed/train-00000-of-00001.parquet")
    with flipped(path, path.stat().st_size - 20):
        ((repo, file, group, what),) = broken(client, client.locate("demo/audit-final-1m"))
    assert (repo, group) == ("demo/audit-seed@v1", None)
    assert "header or footer" in what
    assert file.endswith(".parquet")


def test_verify_finds_every_single_flipped_bit(client: Hub, hub: HubAddress) -> None:
    ref = rewritten(client)
    statement = client.statement(ref)
    assert statement is not None
    names = ["provenance.json", *(subject.name for subject in statement.subject)]
    chance = random.Random(4)
    for name in names * 3:
        path = blob(client, hub, ref, name)
        at = chance.randrange(path.stat().st_size)
        with flipped(path, at):
            found = broken(client, ref)
        assert found, f"bit flipped at {at} of {name}"
        # Repos of one run share some files byte for byte, and so the embedded Hub keeps them once.
        assert ("demo/audit-rewritten@v1", name) in {(repo, file) for repo, file, _, _ in found}
        assert {file for _, file, _, _ in found} == {name}


def test_a_flipped_bit_in_the_statement_of_an_input_is_found(client: Hub, hub: HubAddress) -> None:
    curated = client.locate("demo/audit-curated@v1")
    path = blob(client, hub, curated, "provenance.json")
    with flipped(path, path.read_bytes().index(b'"kept": ') + 8):
        found = broken(client, rewritten(client))
    assert {(repo, file) for repo, file, _, _ in found} == {("demo/audit-curated@v1", "provenance.json")}


@pytest.fixture
def branch(client: Hub) -> Iterator[str]:
    """A branch of the seed dataset, to spoil."""
    repo = "demo/audit-seed"
    client.api.create_branch(repo, branch="spoilt", revision="v1", repo_type="dataset")
    yield repo
    client.api.delete_branch(repo, branch="spoilt", repo_type="dataset")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (edit_settings, "inputs give the fingerprint"),
        (edit_source, "inputs give the fingerprint"),
        (edit_counts, "its tag v1 was moved by hand"),
        (edit_row_group, "states another sha256 for row groups"),
    ],
)
def test_a_statement_that_is_edited_and_sealed_again_is_found(
    client: Hub, branch: str, edit: Callable[[Any], None], message: str
) -> None:
    path = client.file(client.locate(f"{branch}@v1"), "provenance.json")
    assert path is not None
    document = json.loads(path.read_text())
    edit(document)
    content = to_bytes(document)
    ref = spoil(client, branch, {"provenance.json": content}, f"{SEAL}{sha256(content)}")
    assert [what for _, _, _, what in broken(client, ref) if message in what]


def test_source_files_are_checked_where_they_are_given(published: Path, client: Hub) -> None:
    ref = client.locate("demo/audit-seed@v1")
    given = {found.link.title: found.verdict for found in verify(client, ref, [published.parent])}
    assert given == {"seed": "whole", "trees.jsonl": "whole"}
    assert {found.verdict for found in verify(client, ref)} == {"whole", "not checked"}


def test_the_statement_is_held_against_the_sha256_that_one_knows(client: Hub) -> None:
    ref = rewritten(client)
    statement = client.statement(ref)
    assert statement is not None
    assert not next(verify(client, ref, expected=statement.sha256)).broken
    (finding,) = next(verify(client, ref, expected="a" * 64)).findings
    assert (finding.file, finding.note) == ("provenance.json", False)


def test_missing_and_foreign_files_are_named(client: Hub, branch: str) -> None:
    ref = spoil(client, branch, {"recipe.yaml": None, "data/extra.parquet": b"PAR1"})
    found = {(file, what) for _, file, _, what in broken(client, ref)}
    assert found == {("recipe.yaml", "is missing"), ("data/extra.parquet", "is named by no statement")}


def test_a_passage_written_by_hand_is_no_damage_but_any_other_edit_is(client: Hub, branch: str) -> None:
    card = client.file(client.locate(f"{branch}@v1"), "README.md")
    assert card is not None
    text = card.read_text()
    start = "<!-- backforth:keep:start -->\n"
    ref = spoil(client, branch, {"README.md": text.replace(start, start + "Mind the gap.\n").encode()})
    found = checked(client, ref)["seed"]
    assert not found.broken
    assert any("by hand" in finding.what for finding in found.findings)
    ref = spoil(client, branch, {"README.md": text.replace("10", "11").encode()})
    assert [(file, group) for _, file, group, _ in broken(client, ref)] == [("README.md", None)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: None, "was not published by backforth"),
        (lambda text: "{", "is no JSON"),
        (lambda text: "[]", "is no in-toto statement"),
        (lambda text: text.replace("backforth:node:v1", "backforth:node:v2"), "later backforth"),
        (lambda text: text.replace('"subject"', '"subjects"'), "no whole statement: subject"),
        (lambda text: text.replace("slsa.dev/provenance/v1", "slsa.dev/provenance/v9"), "predicate"),
    ],
)
def test_a_statement_that_is_missing_wrong_or_too_new_ends_in_one_line(
    client: Hub, branch: str, hub: HubAddress, change: Any, message: str
) -> None:
    path = client.file(client.locate(f"{branch}@v1"), "provenance.json")
    assert path is not None
    changed = change(path.read_text())
    spoil(client, branch, {"provenance.json": None if changed is None else changed.encode()})
    for verb in ("verify", "lineage"):
        done = backforth(hub, verb, f"{branch}@spoilt")
        text = " ".join((done.stdout + done.stderr).split())
        assert message in text, text
        assert "Traceback" not in text
        assert done.returncode == (1 if verb == "verify" else 0)


def test_a_tag_moved_by_hand_is_found_and_stops_a_run(
    published: Path, client: Hub, branch: str, hub: HubAddress
) -> None:
    ref = client.locate(f"{branch}@v1")
    statement = client.statement(ref)
    assert statement is not None
    tag = f"fp-{statement.fingerprint[:12]}"
    other = spoil(client, branch, {"provenance.json": None})
    client.api.create_tag("demo/audit-rewritten", tag="v9", revision="v1", repo_type="dataset")
    client.api.delete_tag(branch, tag=tag, repo_type="dataset")
    client.api.create_tag(branch, tag=tag, revision=other.sha, repo_type="dataset")
    client.api.create_tag(branch, tag="v8", revision=other.sha, repo_type="dataset")
    try:
        found = [what for _, _, _, what in broken(client, rewritten(client))]
        assert [what for what in found if "v9 was moved here" in what]
        done = backforth(hub, "run", str(published))
        assert done.returncode == 1
        assert re.search(rf"tag {tag} stands at {other.sha[:12]}.*somebody moved it", done.stderr)
    finally:
        client.api.delete_tag("demo/audit-rewritten", tag="v9", repo_type="dataset")
        client.api.delete_tag(branch, tag="v8", repo_type="dataset")
        client.api.delete_tag(branch, tag=tag, repo_type="dataset")
        client.api.create_tag(branch, tag=tag, revision=ref.sha, repo_type="dataset")


def test_lineage_goes_back_to_the_corpus_and_says_where_it_ends(client: Hub, hub: HubAddress) -> None:
    done = backforth(hub, "lineage", "models/demo/audit-final-1m@v1", "--json")
    links = {link["uri"]: link for link in json.loads(done.stdout)}
    assert list(links)[-1].startswith("hf://demo/audit-final-1m@")
    assert {link["node"] for link in links.values() if link["node"]} == {*DATASETS, "train-final"}
    for at, link in enumerate(links.values()):
        assert all(list(links).index(parent["uri"]) < at for parent in link["made_of"])
    ends = {uri.partition("@")[0].partition("#")[0] for uri, link in links.items() if link["ends"]}
    assert ends == {f"hf://{BASE}", "corpus.jsonl", "trees.jsonl"}
    assert "demo/audit-rewritten@v1" in backforth(hub, "lineage", "demo/audit-mix").stdout


def test_the_cards_show_the_lineage_as_a_picture(client: Hub) -> None:
    for repo in ("demo/audit-mix", "demo/audit-final-1m"):
        ref = client.locate(repo)
        drawn = client.file(ref, "pictures/lineage.svg")
        card = client.file(ref, "README.md")
        assert drawn is not None
        assert card is not None
        assert "](pictures/lineage.svg)" in card.read_text()
        assert "demo/audit-responses" in drawn.read_text()


def test_a_training_row_is_traced_back_to_its_web_page(client: Hub, hub: HubAddress) -> None:
    import datasets

    mix = datasets.Dataset.from_parquet(
        [str(path) for path in client.matching(client.locate("demo/audit-mix"), ["data/mix/*"]).values()]
    )
    row = next(row for row in mix if row["source_node"] == "rewrite")
    stops = trace(client, client.locate("demo/audit-final-1m"), row["id"])
    assert [stop.statement.node for stop in stops] == [*DATASETS[1:], "train-final"]
    assert stops[0].row["url"] == row["url"] is not None
    assert stops[2].row["judgement"].startswith("Score")
    assert stops[3].row["draft"] == stops[0].row["text"]
    assert row["prompt"][-1]["content"].startswith(stops[1].row["instruction"])
    done = backforth(hub, "trace", "demo/audit-final-1m", row["id"])
    assert done.returncode == 0
    assert row["url"] in done.stdout
    assert "trained on it" in done.stdout


def test_a_rejected_row_is_traced_to_where_it_ended(client: Hub) -> None:
    ref = client.locate("demo/audit-mix")
    shards = client.matching(client.locate("demo/audit-backtranslated"), ["data/rejected/*"])
    import pyarrow.parquet as pq

    rejected = [row for path in shards.values() for row in pq.read_table(path).to_pylist()]
    if not rejected:
        shards = client.matching(client.locate("demo/audit-rewritten"), ["data/rejected/*"])
        rejected = [row for path in shards.values() for row in pq.read_table(path).to_pylist()]
    assert rejected, "the tiny model rejects none; choose other settings"
    stops = trace(client, ref, rejected[0]["id"])
    assert stops[-1].rejected
    assert stops[-1].row["reason"] == rejected[0]["reason"]


def test_an_unknown_row_is_one_line(client: Hub) -> None:
    with pytest.raises(HubError, match="there is no row 'nobody' in any of demo/audit-seed@v1"):
        trace(client, client.locate("demo/audit-mix"), "nobody")


def test_a_new_version_says_what_changed(published: Path, client: Hub, hub: HubAddress) -> None:
    done = backforth(hub, "run", str(published), "--set", "stages.seed.max_pairs=8", "--only", "seed")
    assert done.returncode == 0, done.stderr
    (first, second) = json.loads(backforth(hub, "versions", "demo/audit-seed", "--json").stdout)
    assert first["changes"] is None
    changes = second["changes"]
    assert changes["since"] == "v1"
    assert changes["rows"]["seed"] == {"added": 0, "dropped": 2, "changed": 0, "same": 8}
    assert [name for name, _, _ in changes["settings"]] == ["max_pairs"]
    assert "2 dropped" in backforth(hub, "versions", "demo/audit-seed").stdout
    card = client.file(client.locate("demo/audit-seed@v2"), "README.md")
    assert card is not None
    assert "v1" in card.read_text()
    assert len(client.api.list_repo_commits("demo/audit-seed", repo_type="dataset")) == 3


def test_the_repos_of_a_run_are_linked_in_one_collection(client: Hub) -> None:
    found = [c for c in client.api.list_collections(owner="demo") if c.title.startswith("audit:")]
    assert len(found) == 1
    items = {item.item_id for item in client.api.get_collection(found[0].slug).items}
    assert items == {
        "demo/audit-seed",
        "demo/audit-responses",
        "demo/audit-backtranslated",
        "demo/audit-curated",
        "demo/audit-rewritten",
        "demo/audit-mix",
        "demo/audit-final-1m",
    }


def test_terminal_escapes_of_web_text_do_not_reach_the_terminal(client: Hub) -> None:
    import io

    from rich.console import Console

    from hub_tools.cli.show.trace import print_trace
    from hub_tools.hub.trace import Stop

    (stop, *_) = trace(client, client.locate("demo/audit-responses"), any_id(client))
    evil = "\x1b]0;owned\x07\x1b[2J[bold]not markup[/bold]"
    out = io.StringIO()
    bad = Stop(ref=stop.ref, statement=stop.statement, configs=["responses"], row={"id": "x", "text": evil})
    print_trace(Console(file=out, force_terminal=True, width=200), client, [bad], full=True)
    assert "\x1b]" not in out.getvalue()
    assert "\x1b[2J" not in out.getvalue()
    assert "[bold]not markup[/bold]" in out.getvalue()


def any_id(client: Hub) -> str:
    import pyarrow.parquet as pq

    (shard,) = client.matching(client.locate("demo/audit-responses"), ["data/responses/*"]).values()
    return str(pq.read_table(shard)["id"][0].as_py())


def test_the_verbs_explain_themselves() -> None:
    import sys

    for verb in ("versions", "lineage", "trace", "verify"):
        done = subprocess.run(
            [sys.executable, "-m", "hub_tools", verb, "--help"], capture_output=True, text=True, check=True
        )
        assert "REPO[@REV]" in done.stdout
