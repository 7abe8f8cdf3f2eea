"""Repos as pages meet them: datasets with cards, Parquet files and provenance statements."""

import io
import json
import os
from html.parser import HTMLParser

import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import CommitOperationAdd

MARK = "<b>&\"'</b>"  # text that must never become markup


def parquet(rows, row_group=None, schema=None):
    """A Parquet file with these rows, as bytes."""
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), file, row_group_size=row_group)
    return file.getvalue()


def statement(node="rewrite", inputs=(), **run):
    """A provenance statement with the parts that pages read."""
    build = {
        "externalParameters": {"node": node, "stage": node},
        "internalParameters": {"fingerprint": "ab" * 32},
        "resolvedDependencies": [{"name": name, "uri": uri} for name, uri in inputs],
    }
    run_details = {"byproducts": [{"name": "run", "annotations": run}]}
    predicate = {"buildDefinition": build, "runDetails": run_details}
    return json.dumps({"_type": "https://in-toto.io/Statement/v1", "predicate": predicate}).encode()


def dataset(hub, files, name=None, **how):
    """Make a dataset with these files; returns its name and the commit."""
    name = name or f"demo/pages-{os.urandom(6).hex()}"
    hub.api().create_repo(name, repo_type="dataset", exist_ok=True)
    return name, change(hub, name, files, **how)


def change(hub, name, files, message="Add rows", **how):
    """Commit files to a dataset; returns the commit's id."""
    adds = [CommitOperationAdd(path, data) for path, data in files.items()]
    return hub.api().create_commit(name, adds, repo_type="dataset", commit_message=message, **how).oid


def two_versions(hub):
    """Make a dataset with two versions, as backforth publishes them; returns its name and both commits."""
    rows = [{"id": str(number), "text": f"row {number}"} for number in range(3)]
    card = b"---\nlicense: cc-by-4.0\ntags: [synthetic]\n---\n# Rewritten\n\n![plot](pictures/p.png)\n"
    first = {
        "data/train.parquet": parquet(rows),
        "README.md": card,
        "recipe.yaml": b"temperature: 0.7\n",
        "pictures/p.png": b"\x89PNG\r\n\x1a\n",
        "provenance.json": statement(read=6, kept=3, rejects={"truncated": 3}, rows={"default": 3}),
    }
    name, one = dataset(hub, first, message="rewrite: 3 of 6 rows")
    api = hub.api()
    for tag in ("v1", "fp-0123456789ab"):
        api.create_tag(name, tag=tag, revision=one, repo_type="dataset")
    changes = {
        "since": "v1",
        "rows": {"default": {"added": 2, "dropped": 0, "changed": 1, "same": 2}},
        "settings": [["rewrite.temperature", "0.7", "0.9"]],
        "inputs": [["backtranslate", "v3", MARK]],
    }
    second = {
        "recipe.yaml": b"temperature: 0.9\n",
        "provenance.json": statement(
            read=9, kept=5, rejects={"truncated": 4}, rows={"default": 5}, changes=changes
        ),
    }
    two = change(hub, name, second, message="rewrite: 5 of 9 rows")
    api.create_tag(name, tag="v2", revision=two, repo_type="dataset")
    return name, one, two


def opened(hub, path, status=200, token=None):
    """The HTML of a page, which must be well formed, run nothing and have a title."""
    answer = hub.request("GET", path, token=token)
    assert answer.status == status, answer.body[:500]
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    html = answer.body.decode()
    Checked().feed(html)
    return html


class Checked(HTMLParser):
    """Fails at scripts, event handlers, addresses of scripts and anything loaded from elsewhere."""

    LOADED = ("img", "source", "link", "iframe", "object", "embed", "video", "audio", "track", "use", "image")

    def handle_starttag(self, tag, attributes):
        assert tag not in ("script", "iframe", "object", "embed", "base"), tag
        for name, value in attributes:
            assert not name.startswith("on"), (tag, name)
            assert name != "style", (tag, value)  # the policy forbids them
            address = (value or "").strip().lower()
            assert not address.startswith(("javascript:", "data:", "vbscript:")), (tag, value)
            if name in ("src", "srcset", "xlink:href") or (name == "href" and tag in self.LOADED):
                assert address.startswith("/"), (tag, value)
                assert not address.startswith("//"), (tag, value)
