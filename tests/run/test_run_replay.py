"""Published nodes replay from their own provenance; what was changed since is found, down to the column."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from run_support import BASE, HubAddress, backforth, small_recipe, trees, write_lines, write_recipe

from hub_tools.errors import BackforthError, DataError, EndpointDown, HubError
from hub_tools.hub.repository import Hub
from hub_tools.run.replay.compare_files import ModelFile
from hub_tools.run.replay.compare_rows import Rows
from hub_tools.run.replay.replay import Replay, replay

REPOS = {
    "seed": "played-seed",
    "train-backward": "played-backward-1m",
    "responses": "played-responses",
    "backtranslate": "played-backtranslated",
    "train-forward": "played-forward-1m",
    "curate": "played-curated",
    "rewrite": "played-rewritten",
    "distill": "played-distilled",
    "mix": "played-mix",
    "train-final": "played-final-1m",
    "report": "played-report",
}
SEED = "demo/played-seed"
SEEDS = "data/seed/train-00000-of-00001.parquet"
FORWARD = "demo/played-forward-1m"
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, hub: HubAddress) -> Path:
    """Where the sources lie of a recipe that was run to its end."""
    folder = tmp_path_factory.mktemp("played")
    recipe = small_recipe(folder, hub, "played")
    for endpoint in recipe["endpoints"].values():
        endpoint["concurrency"] = 1  # what shares a batch may change the last bits of a probability
    done = backforth(hub, "run", str(write_recipe(folder, recipe)))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def auditor(folder: Path, hub: HubAddress) -> Iterator[Hub]:
    """Somebody with an address and a token, and as many threads as the run had."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Hub(hub.endpoint, hub.token)
    torch.set_num_threads(threads)


def read(hub: Hub, repo: str, name: str) -> bytes:
    """Read a file of a repo's first version."""
    path = hub.file(hub.locate(f"{repo}@v1"), name)
    assert path
    return path.read_bytes()


def commit(hub: Hub, repo: str, files: dict[str, bytes]) -> str:
    """Commit the first version with other files in it, and return its address."""
    from huggingface_hub import CommitOperationAdd

    first = hub.locate(f"{repo}@v1")
    given = {path.relative_to(hub.fetch(first)).as_posix(): path for path in hub.fetch(first).rglob("*.*")}
    adds = [CommitOperationAdd(name, content) for name, content in {**given, **files}.items()]
    done = hub.api.create_commit(repo, adds, commit_message="changed", repo_type=first.kind)
    return f"{repo}@{done.oid}"


def sealed(hub: Hub, repo: str, change: Callable[[dict[str, Any]], None], **files: bytes) -> str:
    """Commit a changed statement, which names the files as they are then."""
    statement = json.loads(read(hub, repo, "provenance.json"))
    change(statement["predicate"]["buildDefinition"])
    for subject in statement["subject"]:
        if subject["name"] in files:
            subject["digest"]["sha256"] = hashlib.sha256(files[subject["name"]]).hexdigest()
    return commit(hub, repo, {**files, "provenance.json": json.dumps(statement).encode()})


def parquet(content: bytes, change: Callable[[list[dict[str, Any]]], Any], **options: Any) -> bytes:
    """Write a shard anew with its rows changed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(content))
    rows = table.to_pylist()
    change(rows)
    written = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), written, **options)
    return written.getvalue()


def rows(found: Replay, config: str) -> Rows:
    return next(part for part in found.parts if isinstance(part, Rows) and part.config == config)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("node", REPOS)
def test_every_node_of_a_run_replays_identically(folder: Path, auditor: Hub, node: str) -> None:
    again = replay(auditor, f"demo/{REPOS[node]}@v1", [folder])
    assert again.identical, "\n".join(again.sentences())
    assert again.node == node
    assert not again.fingerprint
    assert all(part.same_bytes and part.as_stated for part in again.parts)
    assert json.loads(json.dumps(again.record(), allow_nan=False))["identical"]
    assert all("identical" in line for line in again.sentences())


def test_a_replay_publishes_nothing_and_leaves_nothing(
    folder: Path, auditor: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = auditor.api.list_repo_commits(SEED, repo_type="dataset")
    assert replay(auditor, SEED + "@v1", [folder]).identical
    after = auditor.api.list_repo_commits(SEED, repo_type="dataset")
    assert [entry.commit_id for entry in before] == [entry.commit_id for entry in after]
    assert list(tmp_path.iterdir()) == []


def test_a_changed_value_is_found_and_shown_without_its_terminal_escapes(folder: Path, auditor: Hub) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[3]["response"] += " \x1b[31m\u202eand more"

    address = commit(auditor, SEED, {SEEDS: parquet(read(auditor, SEED, SEEDS), change)})
    found = replay(auditor, address, [folder])
    part = rows(found, "seed")
    assert not found.identical
    assert (part.equal, part.different, part.only_published, part.only_replayed) == (9, 1, 0, 0)
    assert part.first
    assert (part.first.row, part.first.column) == (3, "response")
    assert part.first.replayed.endswith('done"')
    assert list(part.columns) == ["response"]
    said = "\n".join(found.sentences())
    assert "and more" in said
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert "so the published file was changed since" in said
    assert "honest reasons" not in said
    assert rows(found, "rejected").identical


def test_a_row_that_is_gone_is_not_taken_for_many_that_differ(folder: Path, auditor: Hub) -> None:
    address = commit(auditor, SEED, {SEEDS: parquet(read(auditor, SEED, SEEDS), lambda rows: rows.pop(4))})
    part = rows(replay(auditor, address, [folder]), "seed")
    assert (part.equal, part.different, part.only_published, part.only_replayed) == (9, 0, 0, 1)
    assert part.first
    assert (part.first.row, part.first.column) == (4, "id")


def test_rows_in_another_order_are_not_identical(folder: Path, auditor: Hub) -> None:
    address = commit(
        auditor, SEED, {SEEDS: parquet(read(auditor, SEED, SEEDS), lambda rows: rows.append(rows.pop(0)))}
    )
    part = rows(replay(auditor, address, [folder]), "seed")
    assert part.equal == 10
    assert not part.identical


def test_the_same_rows_in_other_bytes_are_identical(folder: Path, auditor: Hub) -> None:
    shard = parquet(read(auditor, SEED, SEEDS), lambda rows: None, compression="gzip", row_group_size=3)
    part = rows(replay(auditor, commit(auditor, SEED, {SEEDS: shard}), [folder]), "seed")
    assert part.identical
    assert not part.same_bytes


def test_a_broken_shard_is_a_difference_and_no_traceback(folder: Path, auditor: Hub) -> None:
    content = read(auditor, SEED, SEEDS)
    found = replay(auditor, commit(auditor, SEED, {SEEDS: content[:100] + b"\0" * 50}), [folder])
    assert not found.identical
    assert "cannot be read" in rows(found, "seed").problem


def test_a_changed_weight_is_found_with_its_tensor(folder: Path, auditor: Hub) -> None:
    from safetensors.torch import load, save

    tensors = load(read(auditor, FORWARD, WEIGHTS))
    name = sorted(tensors)[2]
    tensors[name][0, 0] += 0.5
    changed = save(tensors, {"format": "pt"})
    found = replay(auditor, commit(auditor, FORWARD, {WEIGHTS: changed}), [folder])
    part = next(part for part in found.parts if not part.identical)
    assert isinstance(part, ModelFile)
    assert (part.name, part.tensors, part.first) == (WEIGHTS, 1, name)
    assert part.largest == pytest.approx(0.5, abs=1e-5)
    assert f"tensors that differ: 1, by 0.5 at most, the first is {name}" in "\n".join(found.sentences())


def test_a_missing_source_is_named_with_its_sha256(folder: Path, auditor: Hub, tmp_path: Path) -> None:
    write_lines(tmp_path / "trees.jsonl", trees(9))
    digest = hashlib.sha256((folder / "trees.jsonl").read_bytes()).hexdigest()
    with pytest.raises(DataError, match=rf"'trees.jsonl' with the sha256 {digest}, and no --source holds it"):
        replay(auditor, SEED + "@v1", [tmp_path])
    with pytest.raises(DataError, match="no such file or folder"):
        replay(auditor, SEED + "@v1", [tmp_path / "nowhere"])


def test_a_source_is_known_by_its_bytes_whatever_it_is_called(
    folder: Path, auditor: Hub, tmp_path: Path
) -> None:
    (tmp_path / "copy.txt").write_bytes((folder / "trees.jsonl").read_bytes())
    assert replay(auditor, SEED + "@v1", [tmp_path / "copy.txt"]).identical


def test_a_source_on_the_hub_is_fetched_at_its_commit(
    hub: HubAddress, auditor: Hub, folder: Path, tmp_path: Path
) -> None:
    auditor.api.create_repo("demo/raw", repo_type="dataset")
    for count in (5, 6):  # the newer one comes after the run
        path = write_lines(tmp_path / "trees.jsonl", trees(count))
        auditor.api.upload_file(
            repo_id="demo/raw", repo_type="dataset", path_in_repo="oasst/trees.jsonl", path_or_fileobj=path
        )
        if count == 5:
            recipe = small_recipe(tmp_path, hub, "far")
            recipe["endpoints"] = {}
            recipe["stages"] = {"seed": {"source": "hf://datasets/demo/raw/oasst/*.jsonl"}}
            done = backforth(hub, "run", str(write_recipe(tmp_path, recipe)))
            assert done.returncode == 0, done.stderr
    again = replay(auditor, "demo/far-seed@v1")
    assert again.identical
    assert rows(again, "seed").equal == 5


def test_a_training_from_the_command_line_replays(hub: HubAddress, auditor: Hub) -> None:
    done = backforth(
        hub, "train", "final", "--base", BASE, "--dataset", "demo/played-mix@v1", "--method", "lora",
        "--set", "steps=2", "--set", "batch_size=2", "--set", "max_length=512", "--name", "lone",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert replay(auditor, "demo/lone-final-1m").identical


def test_prompts_of_this_installation_do_not_matter(
    folder: Path, auditor: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "backward.jinja").write_text("Something else: {{ text }}")
    monkeypatch.setattr("hub_tools.prompts.HERE", tmp_path)
    assert replay(auditor, "demo/played-backward-1m@v1").identical


@pytest.mark.parametrize(("version", "way_out"), [(2, "install 'backforth@"), (0, "update backforth")])
def test_a_stage_of_another_version_is_refused(
    folder: Path, auditor: Hub, monkeypatch: pytest.MonkeyPatch, version: int, way_out: str
) -> None:
    from hub_tools.stages.registry import STAGES

    monkeypatch.setitem(STAGES, "seed", replace(STAGES["seed"], version=version))
    with pytest.raises(
        HubError, match=f"by version 1 of the stage seed, and this backforth has version {version}"
    ) as raised:
        replay(auditor, SEED + "@v1", [folder])
    assert way_out in str(raised.value)


def test_an_edited_setting_shows_in_the_rows_and_the_fingerprint(folder: Path, auditor: Hub) -> None:
    def edit(definition: dict[str, Any]) -> None:
        definition["externalParameters"]["settings"]["license"] = "mit"

    found = replay(auditor, sealed(auditor, SEED, edit), [folder])
    assert list(rows(found, "seed").columns) == ["license"]
    assert rows(found, "seed").different == 10
    assert "somebody edited it" in found.fingerprint


def test_a_setting_that_is_not_known_here_names_who_made_the_repo(folder: Path, auditor: Hub) -> None:
    def edit(definition: dict[str, Any]) -> None:
        definition["externalParameters"]["settings"]["max_rung"] = 3

    with pytest.raises(HubError, match=r"made by 'backforth@.*max_rung is no setting; did you mean max_rank"):
        replay(auditor, sealed(auditor, SEED, edit), [folder])


def test_other_libraries_are_named_where_something_differs(
    folder: Path, auditor: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub_tools.run.replay.replay.versions", lambda: {"python": "4.0", "pyarrow": "99"})
    address = sealed(
        auditor, SEED, lambda entry: entry["externalParameters"]["settings"].update(license="mit")
    )
    found = replay(auditor, address, [folder])
    assert "honest reasons for a difference" in list(found.sentences())[-1]
    assert "pyarrow 99, then " in "; ".join(found.excuses)
    assert "torch is not here, then " in "; ".join(found.excuses)


@pytest.mark.slow
def test_the_address_in_a_recipe_is_never_asked(folder: Path, auditor: Hub) -> None:
    recipe = yaml.safe_load(read(auditor, "demo/played-distilled", "recipe.yaml"))
    recipe["endpoints"]["rewriter"]["url"] = "http://127.0.0.1:9"
    content = yaml.safe_dump(recipe).encode()
    address = sealed(auditor, "demo/played-distilled", lambda _: None, **{"recipe.yaml": content})
    assert replay(auditor, address).identical


def test_an_endpoint_that_is_given_is_asked(folder: Path, auditor: Hub) -> None:
    with pytest.raises(EndpointDown, match=r"http://127\.0\.0\.1:9 does not answer"):
        replay(auditor, "demo/played-distilled@v1", endpoint="http://127.0.0.1:9")


def test_a_recipe_that_is_not_the_stated_one_is_refused(folder: Path, auditor: Hub) -> None:
    content = read(auditor, SEED, "recipe.yaml") + b"\n# a word more\n"
    with pytest.raises(HubError, match=r"has another recipe\.yaml than its provenance\.json names"):
        replay(auditor, commit(auditor, SEED, {"recipe.yaml": content}), [folder])


def test_a_repo_that_no_node_made_is_refused(folder: Path, auditor: Hub) -> None:
    with pytest.raises(HubError, match=f"{BASE}@.* has no provenance.json: backforth did not publish it"):
        replay(auditor, BASE)
    with pytest.raises(HubError, match="no such dataset or model"):
        replay(auditor, "demo/nothing")


HOSTILE = [
    "[" * 2000,
    "stages: 2001-99-99",
    '"\\e[2J": 1\nname: a\nnamespace: demo\nstages: {seed: {source: x}}',
    "name: a\nnamespace: demo\nstages: {seed: {reads: [{}], source: x}}",
    "name: a\nnamespace: demo\nstages: {seed: {asks: [], source: x}}",
    "name: a\nnamespace: demo\nstages: {seed: {stage: {}, source: x}}",
    "name: a\nnamespace: demo\nstages: {seed: {source: x}, report: {reads: [{}]}}",
    "name: a\nnamespace: demo\nstages: {seed: {source: x}, report: {reads: [[]]}}",
    "name: a\nnamespace: demo\nstages: {other: {stage: seed, source: x}}",
    "name: a\nnamespace: demo\nstages: {seed: {stage: report}}",
]


@pytest.mark.parametrize("content", HOSTILE)
def test_a_hostile_recipe_is_refused_in_one_line(folder: Path, auditor: Hub, content: str) -> None:
    address = sealed(auditor, SEED, lambda _: None, **{"recipe.yaml": content.encode()})
    with pytest.raises(BackforthError) as raised:
        replay(auditor, address, [folder])
    assert "\n" not in str(raised.value)
    assert "\x1b" not in str(raised.value)


@pytest.mark.parametrize("name", ["../../elsewhere", "/etc/passwd", "..", "", "a" * 300, "hf://datasets/a"])
def test_a_source_name_cannot_lead_out_of_the_work_folder(folder: Path, auditor: Hub, name: str) -> None:
    def edit(definition: dict[str, Any]) -> None:
        definition["resolvedDependencies"][0]["uri"] = name

    with pytest.raises(BackforthError, match=r"no file name|is not there"):
        replay(auditor, sealed(auditor, SEED, edit), [folder])
