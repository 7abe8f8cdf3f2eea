import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pages_support import MARK, change, dataset, opened, statement, two_versions

from hub_tools.hub.server.blobs import BlobStore
from hub_tools.hub.server.pages import statements
from hub_tools.hub.server.trees import Entry


@pytest.fixture(scope="module")
def published(hub):
    return two_versions(hub)


def test_commits_name_their_versions_and_one_commit_shows_its_diff(hub, published):
    name, one, two = published
    html = opened(hub, f"/datasets/{name}/commits/main")
    assert (
        html.index("rewrite: 5 of 9 rows") < html.index("rewrite: 3 of 6 rows") < html.index("initial commit")
    )
    assert ">v1</span>" in html
    diff = opened(hub, f"/datasets/{name}/commit/{two}")
    assert '<li class="gone">-temperature: 0.7</li>' in diff
    assert '<li class="new">+temperature: 0.9</li>' in diff
    assert "train.parquet" not in diff.partition("What it changed")[2]
    first = opened(hub, f"/datasets/{name}/commit/{one}").partition("What it changed")[2]
    assert first.count('class="what added"') == 5


def test_commit_tells_moved_and_removed_files(hub):
    name, _ = dataset(hub, {"a.txt": b"some text\n", "b.txt": b"other text\n"})
    api = hub.api()
    api.delete_file("b.txt", name, repo_type="dataset")
    html = opened(hub, f"/datasets/{name}/commit/main")
    assert 'class="what removed"' in html
    assert "-other text" in html
    line = [
        {"key": "header", "value": {"summary": "move"}},
        {"key": "file", "value": {"path": "c.txt", "content": "some text\n", "encoding": "utf-8"}},
        {"key": "deletedFile", "value": {"path": "a.txt"}},
    ]
    body = "\n".join(map(json.dumps, line))
    assert hub.request("POST", f"/api/datasets/{name}/commit/main", body).status == 200
    assert "from a.txt" in opened(hub, f"/datasets/{name}/commit/main")


def test_history_is_paged(hub):
    name, _ = dataset(hub, {"n": b"0"})
    for number in range(52):
        change(hub, name, {"n": b"%d" % number}, message=f"number {number}")
    first, second = (opened(hub, f"/datasets/{name}/commits/main?page={page}") for page in (1, 2))
    assert "number 51<" in first
    assert "number 2<" in first
    assert "number 1<" in second
    assert "number 2<" not in second
    assert "page=2" in first
    assert "There are no more commits" in opened(hub, f"/datasets/{name}/commits/main?page=999999999")


def test_versions_show_the_changelog(hub, published):
    name, _, two = published
    for path in ("versions", "tags"):
        html = opened(hub, f"/datasets/{name}/{path}")
        newest, _, older = html.partition('id="version-v1"')
        assert "5 of 9 rows kept (55.6 %)" in newest
        assert "truncated 4" in newest
        assert two[:8] in newest
        assert "Since v1" in newest
        assert "rewrite.temperature" in newest
        assert "fp-0123456789ab" in older
        assert MARK not in html


BROKEN = [
    b"",
    b"[]",
    b'{"predicate": []}',
    b"[" * 100_000,
    b'{"predicate": {"buildDefinition": {"resolvedDependencies": [1, {"uri": 5}, {"uri": "\\ud800"}]}}}',
    b'{"predicate": {"runDetails": {"byproducts": [{"name": "run", "annotations": {"read": 1e999, "kept": -1,'
    b' "rows": {"\\ud800": 1, "x": "y"}, "changes": {"rows": {"a": 1, "b": {"added": true}},'
    b' "settings": [[1], [{}, null, "z"]],'
    b' "inputs": "no", "since": {"a": [1]}}}}]}}}',
    statement(read=1, kept=10**30, rejects={"a": 10**30}, rows=[1]),
]


@pytest.mark.parametrize("broken", BROKEN)
def test_statement_of_any_shape_breaks_no_page(hub, broken):
    name, _ = dataset(
        hub, {"provenance.json": broken, "README.md": b"---\nconfigs: [1, {data_files: 5}]\n---\nx"}
    )
    hub.api().create_tag(name, tag="v1", repo_type="dataset")
    for path in (
        "",
        "/versions",
        "/lineage",
        "/viewer",
        "/tree/v1",
        "/commit/v1",
        "/blob/v1/provenance.json",
    ):
        opened(hub, f"/datasets/{name}{path}")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["since", "rows", "settings", "inputs", "name", "uri", "added"]) | st.text(),
            inner,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(run=JSON, inputs=JSON, changes=JSON)
def test_any_statement_is_read(run, inputs, changes):
    annotations = {**run, "changes": changes} if isinstance(run, dict) else run
    predicate = {
        "buildDefinition": {"resolvedDependencies": inputs, "externalParameters": run},
        "runDetails": {"byproducts": [{"name": "run", "annotations": annotations}]},
    }
    with tempfile.TemporaryDirectory() as folder:
        blobs = BlobStore(Path(folder))
        sha256 = blobs.put(json.dumps({"predicate": predicate}).encode())
        found = statements.record(blobs, {statements.FILE: Entry("", 0, sha256, lfs=False)})
    assert found is not None
    repr(found).encode()
