"""What the tests of an audit look at, and how they do damage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from run_support import HubAddress

from hub_tools.hub.findings import Checked
from hub_tools.hub.repository import Hub, Ref
from hub_tools.hub.verify import verify


def checked(client: Hub, ref: Ref) -> dict[str, Checked]:
    return {found.link.title: found for found in verify(client, ref)}


def broken(client: Hub, ref: Ref) -> list[tuple[str, str, int | None, str]]:
    return [
        (finding.repo, finding.file, finding.row_group, finding.what)
        for found in verify(client, ref)
        for finding in found.findings
        if not finding.note
    ]


def blob(client: Hub, hub: HubAddress, ref: Ref, name: str) -> Path:
    """Where the embedded Hub keeps a file's bytes."""
    statement = client.statement(ref)
    assert statement is not None
    sums = {subject.name: subject.sha256 for subject in statement.subject}
    sha256 = sums.get(name, statement.sha256)
    return hub.store / "blobs" / sha256[:2] / sha256


@contextmanager
def flipped(path: Path, at: int) -> Iterator[None]:
    """Change one bit of a file, and put it back in the end."""
    before = path.read_bytes()
    after = bytearray(before)
    after[at] ^= 1
    path.write_bytes(after)
    try:
        yield
    finally:
        path.write_bytes(before)


def spoil(client: Hub, repo: str, files: dict[str, bytes | None], seal: str = "") -> Ref:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    operations: list[Any] = [
        CommitOperationDelete(name) if content is None else CommitOperationAdd(name, content)
        for name, content in files.items()
    ]
    client.api.create_commit(
        repo,
        operations,
        commit_message="By hand",
        commit_description=seal,
        repo_type="dataset",
        revision="spoilt",
    )
    return client.pin(repo, "dataset", "spoilt")


def edit_settings(document: Any) -> None:
    document["predicate"]["buildDefinition"]["externalParameters"]["settings"]["max_pairs"] = 7


def edit_source(document: Any) -> None:
    document["predicate"]["buildDefinition"]["resolvedDependencies"][0]["digest"]["sha256"] = "a" * 64


def edit_counts(document: Any) -> None:
    document["predicate"]["runDetails"]["byproducts"][0]["annotations"]["kept"] = 9


def edit_row_group(document: Any) -> None:
    shard = next(entry for entry in document["subject"] if "seed" in entry["name"])
    shard["annotations"]["rowGroups"][0]["sha256"] = "a" * 64
