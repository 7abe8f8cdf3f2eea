import re

from pages_support import dataset, opened, parquet, statement

MISSING = "1" * 40


def made_from(hub, node, *inputs, **run):
    files = {"data/train.parquet": parquet([{"id": "a"}]), "provenance.json": statement(node, inputs, **run)}
    name, oid = dataset(hub, files)
    hub.api().create_tag(name, tag="v1", repo_type="dataset")
    return name, oid, f"hf://datasets/{name}@{oid}"


def test_lineage_is_drawn_back_to_the_corpus_with_versions_and_counts(hub):
    seed, seed_oid, seed_uri = made_from(hub, "seed", ("source", "oasst.jsonl.gz"), read=10, kept=4)
    api = hub.api()
    api.create_repo("demo/lineage-model", exist_ok=True)
    model = api.upload_file(
        path_or_fileobj=statement(
            "train-backward", [("seed", seed_uri), ("base", f"hf://meta/base@{MISSING}")]
        ),
        path_in_repo="provenance.json",
        repo_id="demo/lineage-model",
    ).oid
    name, _, _ = made_from(
        hub, "rewrite", ("rows", seed_uri), ("model", f"hf://demo/lineage-model@{model}"), read=4, kept=3
    )
    html = opened(hub, f"/datasets/{name}/lineage")
    drawing = html.partition("<svg")[2].partition("The same as a list")[0]
    for piece in (
        "seed",
        "train-backward",
        "rewrite",
        "oasst.jsonl.gz",
        "meta/base",
        "4 of 10 rows",
        "3 of 4 rows",
    ):
        assert piece in drawing
    assert f'href="/datasets/{seed}?revision=v1"' in drawing
    assert f'href="/demo/lineage-model?revision={model}"' in drawing
    assert seed_oid[:8] in drawing
    rows = re.findall(r"<tr><td>(?:<a[^>]*>)?([^<]+)", html.partition("The same as a list")[2])
    assert set(rows) == {"oasst.jsonl.gz", "meta/base", "seed", "train-backward", "rewrite"}
    assert (
        rows.index("oasst.jsonl.gz")
        < rows.index("seed")
        < rows.index("train-backward")
        < rows.index("rewrite")
    )
    assert rows[-1] == "rewrite"
    for address in set(re.findall(r'href="(/[^"]+)"', drawing)):
        opened(hub, address.replace("&amp;", "&"))


def test_inputs_that_the_viewer_may_not_see_tell_nothing(hub):
    hidden, _, uri = made_from(hub, "secret-node", ("source", "secret.txt"))
    hub.api().update_repo_settings(hidden, repo_type="dataset", visibility="private")
    name, _, _ = made_from(hub, "open-node", ("rows", uri))
    assert "secret-node" in opened(hub, f"/datasets/{name}/lineage")
    html = opened(hub, f"/datasets/{name}/lineage", token="")
    assert "secret" not in html
    assert "not on this Hub" in html


def test_foreign_repo_has_no_lineage(hub):
    name, _ = dataset(hub, {"a.txt": b"x"})
    html = opened(hub, f"/datasets/{name}/lineage")
    assert "backforth did not publish it" in html
    assert "not by backforth" in html


def test_hostile_statements_neither_run_nor_hang(hub):
    evil = '"><script>alert(1)</script>'
    inputs = [
        (evil, evil),
        ("x", "javascript:alert(1)"),
        ("x", ""),
        ("", f"hf://datasets/demo/none@{MISSING}"),
    ]
    name, _, uri = made_from(hub, evil, *inputs, *((f"file {n}", f"{n}.txt") for n in range(450)))
    html = opened(hub, f"/datasets/{name}/lineage")
    assert "Only the nearest 100 steps" in html
    for _ in range(12):
        _, _, uri = made_from(hub, "next", ("rows", uri), ("again", uri))
    opened(hub, uri.removeprefix("hf:/").partition("@")[0] + "/lineage")
