import json
import re

import numpy
import pytest
from pages_support import dataset, opened, two_versions
from safetensors.numpy import save


@pytest.fixture(scope="module")
def published(hub):
    return two_versions(hub)


def test_list_shows_version_and_rows_and_finds_by_name_and_kind(hub, published):
    name = published[0]
    for path in ("/", f"/?search={name[5:].upper()}", "/datasets", "/demo", "/?kind=dataset"):
        html = opened(hub, path)
        assert f'href="/datasets/{name}"' in html, path
    line = html.partition(f'href="/datasets/{name}"')[2].partition("</tr>")[0]
    assert ">v2<" in line
    assert ">5<" in line
    for path in ("/?search=no-such-repo", "/models", "/?kind=model"):
        assert name not in opened(hub, path), path
    opened(hub, "/nobody-here", 404)


def test_card_page_shows_card_labels_and_facts(hub, published):
    name, one, _ = published
    html = opened(hub, f"/datasets/{name}")
    for piece in (
        '<h1 id="rewritten">',
        "cc-by-4.0",
        "synthetic",
        f"/datasets/{name}/resolve/main/pictures/p.png",
    ):
        assert piece in html
    assert f"load_dataset(&#34;{name}&#34;, split=&#34;train&#34;)" in html
    older = opened(hub, f"/datasets/{name}?revision=v1")
    assert "resolve/v1/pictures/p.png" in older
    assert "revision=&#34;v1&#34;" in older
    assert one[:8] in older


def test_files_show_last_commit_and_text_has_line_numbers(hub, published):
    name, _, two = published
    html = opened(hub, f"/datasets/{name}/tree/main")
    assert html.index(">data/<") < html.index(">README.md<")
    recipe = html.partition(">recipe.yaml<")[2].partition("</tr>")[0]
    assert "rewrite: 5 of 9 rows" in recipe
    assert f"/commit/{two}" in recipe
    assert ">p.png<" in opened(hub, f"/datasets/{name}/tree/main/pictures")
    assert '<li id="L1">temperature: 0.9</li>' in opened(hub, f"/datasets/{name}/blob/main/recipe.yaml")
    assert '<li id="L1">temperature: 0.7</li>' in opened(hub, f"/datasets/{name}/blob/v1/recipe.yaml")
    assert f'<img src="/datasets/{name}/resolve/v1/pictures/p.png"' in opened(
        hub, f"/datasets/{name}/blob/v1/pictures/p.png"
    )
    assert "<code>string</code>" in opened(hub, f"/datasets/{name}/blob/main/data/train.parquet")


def test_folder_as_file_and_file_as_folder_lead_to_the_other(hub, published):
    name = published[0]
    there = hub.request("GET", f"/datasets/{name}/blob/main/data")
    assert (there.status, there.headers["Location"]) == (303, f"/datasets/{name}/tree/main/data")
    back = hub.request("GET", f"/datasets/{name}/tree/main/recipe.yaml")
    assert (back.status, back.headers["Location"]) == (303, f"/datasets/{name}/blob/main/recipe.yaml")
    opened(hub, f"/datasets/{name}/blob/main/missing", 404)
    opened(hub, f"/datasets/{name}/tree/main/missing", 404)


def test_long_and_broken_texts_are_cut_and_never_rendered_as_markup(hub):
    files = {
        "long.txt": b"x" * 300_000,
        "lines.txt": b"<i>a</i>\n" * 5_000,
        "raw.bin": b"\0\1",
        "bad.txt": b"\xff\xfe",
    }
    name, _ = dataset(hub, files)
    assert "Only the first 200 kB are shown" in opened(hub, f"/datasets/{name}/blob/main/long.txt")
    html = opened(hub, f"/datasets/{name}/blob/main/lines.txt")
    assert html.count("&lt;i&gt;a&lt;/i&gt;") == 2_000
    for path in ("raw.bin", "bad.txt"):
        assert "not text" in opened(hub, f"/datasets/{name}/blob/main/{path}")


def test_form_leads_to_the_same_page_at_the_chosen_revision(hub, published):
    base = f"/datasets/{published[0]}"
    for query, target in (
        ("revision=v1&page=card", f"{base}?revision=v1"),
        ("revision=v1&page=tree&path=data", f"{base}/tree/v1/data"),
        ("revision=v1&page=blob&path=recipe.yaml", f"{base}/blob/v1/recipe.yaml"),
        ("revision=v1&page=commits", f"{base}/commits/v1"),
        ("revision=v1&page=viewer&config=default", f"{base}/viewer?revision=v1&config=default"),
        ("revision=main&page=https://elsewhere.example", base),
    ):
        answer = hub.request("GET", f"{base}/go?{query}")
        assert (answer.status, answer.headers["Location"]) == (303, target)
        assert hub.request("GET", target).status == 200


@pytest.mark.parametrize(
    "query", ["page=x", "page=-1", "page=99999999999999999999", "page=", "page=%00", "page=1&page=2"]
)
def test_senseless_numbers_are_refused_as_a_page(hub, published, query):
    for path in ("", "/viewer", "/commits/main", "/tree/main", "/versions"):
        answer = hub.request("GET", f"/datasets/{published[0]}{path}?{query}")
        assert answer.status in (200, 400)
        assert answer.headers["Content-Type"].startswith("text/html")


def test_metadata_that_cannot_be_read_is_explained(hub):
    name, _ = dataset(hub, {"a.txt": b"x"})
    broken = {"path": "README.md", "content": "---\na: [\n---\n# Title\n", "encoding": "utf-8"}
    lines = [{"key": "header", "value": {"summary": "x"}}, {"key": "file", "value": broken}]
    body = "\n".join(map(json.dumps, lines))
    assert hub.request("POST", f"/api/datasets/{name}/commit/main", body).status == 200
    html = opened(hub, f"/datasets/{name}")
    assert "not valid YAML" in html
    assert '<h1 id="title">Title</h1>' in html


NASTY = [
    "%00",
    "%FF",
    "%ED%A0%80",
    "..%2F..%2Fetc",
    "%2E%2E",
    "%F0%9F%98%80",
    "x" * 3000,
    "%22%3E%3Cb%3E",
    "%0D%0AX:%20y",
]


@pytest.mark.parametrize("nasty", NASTY)
def test_nasty_addresses_get_a_page_and_no_failure(hub, published, nasty):
    base = f"/datasets/{published[0]}"
    verbs = ("tree", "blob", "commits", "commit", "discussions", "viewer", "viewer/default")
    names = ("revision", "config", "split", "q", "id", "row", "from", "p", "page", "path")
    paths = [f"{base}/{verb}/{nasty}" for verb in verbs] + [
        f"{base}/{verb}/main/{nasty}" for verb in verbs[:2]
    ]
    paths += [f"{base}{verb}?{name}={nasty}" for verb in ("", "/viewer", "/go") for name in names]
    paths += [
        f"/{nasty}",
        f"/{nasty}/x",
        f"/x/{nasty}",
        f"/collections/demo/{nasty}",
        f"/?search={nasty}&kind={nasty}",
    ]
    for path in paths:
        answer = hub.request("GET", path)
        assert answer.status < 500, path
        assert answer.headers["X: y"] is None
        if answer.status != 303:
            assert answer.headers["Content-Type"].startswith("text/html"), path
            assert b"<b>" not in answer.body.partition(b"<main")[2].replace(b"<b>v", b""), path


def test_tensors_of_a_model_are_listed(hub, repo):
    weights = {"a.<b>": numpy.zeros((2, 3), numpy.float32), "scale": numpy.zeros((), numpy.float16)}
    hub.api().upload_file(path_or_fileobj=save(weights), path_in_repo="model.safetensors", repo_id=repo)
    html = opened(hub, f"/{repo}/blob/main/model.safetensors")
    assert "2 tensors, 7 parameters (1 F16, 6 F32)" in html
    assert re.search(r"a\.&lt;b&gt;</th><td><code>F32</code></td><td><code>2 x 3</code>", html)
    assert "scalar" in html
