"""Publishing: large files first, then one commit with everything, then the tags; and a run's collection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hub_tools.errors import HubError
from hub_tools.hub.digests import sha256
from hub_tools.hub.provenance import PROVENANCE
from hub_tools.hub.repository import VERSION, Hub, Kind, Ref, fingerprint_tag, number

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

Files = Mapping[str, Path | bytes]
BATCH_BYTES = 500_000_000
SEAL = f"{PROVENANCE} has the sha256 "


def publish(
    hub: Hub,
    repo: str,
    kind: Kind,
    fingerprint: str,
    files: Callable[[str, Ref], Files],
    message: str,
    sent: Callable[[int, int], None] = lambda done, total: None,
) -> Ref:
    """Publish one version: one commit with all files, then the tags `vN` and, last, `fp-…`.

    `files(version, head)` returns what the commit holds, by path; `head` is what is there now. `sent` hears
    of bytes uploaded, of how many. Shards that reached the Hub before a crash are not sent again, and a
    commit of the same fingerprint that was left without its tags is tagged and not repeated.

    Raises:
        HubError: the Hub refuses, or somebody else published meanwhile.
    """
    what = f"{kind} {repo}"
    hub.call(what, lambda: hub.api.create_repo(repo, repo_type=kind, private=hub.private, exist_ok=True))
    head, tags = hub.pin(repo, kind, None), hub.tags(repo, kind)
    version = f"v{1 + max((number(tag) for tag in tags if VERSION.fullmatch(tag)), default=0)}"
    if _holds(hub, head, fingerprint):
        ref = Ref(kind, repo, head.sha, _version_at(tags, head.sha) or version)
    else:
        ref = _commit(hub, head, version, fingerprint, files(version, head), message, sent)
    for tag in (ref.version, fingerprint_tag(fingerprint)):
        _tag(hub, ref, str(tag), tags)
    return ref


def _commit(
    hub: Hub,
    head: Ref,
    version: str,
    fingerprint: str,
    files: Files,
    message: str,
    sent: Callable[[int, int], None],
) -> Ref:
    operations = _operations(hub, head, files)
    _upload(hub, head, files, operations, sent)
    statement = files.get(PROVENANCE)
    try:
        done = hub.call(
            f"{head.kind} {head.repo}",
            lambda: hub.api.create_commit(
                head.repo,
                operations,
                commit_message=message,
                commit_description=f"{SEAL}{sha256(statement)}" if statement else None,
                repo_type=head.kind,
                parent_commit=head.sha,
            ),
        )
    except HubError:
        # The answer may have got lost on the way, or another run may have published the very same.
        now = hub.pin(head.repo, head.kind, None)
        if now.sha == head.sha or not _holds(hub, now, fingerprint):
            raise
        return Ref(head.kind, head.repo, now.sha, version)
    return Ref(head.kind, head.repo, done.oid, version)


def _holds(hub: Hub, ref: Ref, fingerprint: str) -> bool:
    statement = hub.statement(ref)
    return statement is not None and statement.fingerprint == fingerprint


def _version_at(tags: Mapping[str, str], sha: str) -> str | None:
    return next((tag for tag, at in tags.items() if at == sha and VERSION.fullmatch(tag)), None)


def _tag(hub: Hub, ref: Ref, tag: str, tags: Mapping[str, str]) -> None:
    if tags.get(tag) == ref.sha:
        return
    if tag in tags:
        raise HubError(
            f"{ref.kind} {ref.repo}: the tag {tag} stands at another commit, {tags[tag][:12]}; "
            "delete it and run again"
        )
    hub.call(
        f"{ref.kind} {ref.repo}",
        lambda: hub.api.create_tag(ref.repo, tag=tag, revision=ref.sha, repo_type=ref.kind, exist_ok=True),
    )


def _operations(hub: Hub, head: Ref, files: Files) -> list[CommitOperationAdd | CommitOperationDelete]:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    gone = [path for path in hub.names(head) if path not in files and path != ".gitattributes"]
    return [
        *(CommitOperationAdd(path_in_repo=path, path_or_fileobj=content) for path, content in files.items()),
        *(CommitOperationDelete(path_in_repo=path) for path in gone),
    ]


def _upload(
    hub: Hub,
    head: Ref,
    files: Files,
    operations: Iterable[CommitOperationAdd | CommitOperationDelete],
    sent: Callable[[int, int], None],
) -> None:
    """Send the files on disk, a shard or so at a time: what has arrived stays there after a crash."""
    from huggingface_hub import CommitOperationAdd

    sizes = {path: content.stat().st_size for path, content in files.items() if isinstance(content, Path)}
    total, done = sum(sizes.values()), 0
    additions = {op.path_in_repo: op for op in operations if isinstance(op, CommitOperationAdd)}
    sent(0, total)
    for batch in _batches(sizes):
        hub.call(
            f"{head.kind} {head.repo}: uploading {batch[0]} ({done:,} of {total:,} bytes are there)",
            lambda batch=batch: hub.api.preupload_lfs_files(  # type: ignore[misc]
                head.repo,
                additions=[additions[path] for path in batch],
                repo_type=head.kind,
                free_memory=False,
            ),
        )
        done += sum(sizes[path] for path in batch)
        sent(done, total)


def _batches(sizes: Mapping[str, int]) -> list[list[str]]:
    batches: list[list[str]] = [[]]
    room = BATCH_BYTES
    for path, size in sizes.items():
        if batches[-1] and size > room:
            batches.append([])
            room = BATCH_BYTES
        batches[-1].append(path)
        room -= size
    return [batch for batch in batches if batch]


def collect(hub: Hub, namespace: str, title: str, description: str, refs: Iterable[Ref]) -> str:
    """Link repos in the collection of that title, which is made if need be; return its address.

    Raises:
        HubError: the Hub refuses, for instance since the token may not write collections.
    """
    what = f"the collection {title!r}"
    found = hub.call(
        what,
        lambda: hub.api.create_collection(
            title, namespace=namespace, description=description, private=hub.private, exists_ok=True
        ),
    )
    there = {(item.item_type, item.item_id) for item in found.items}
    for ref in refs:
        if (ref.kind, ref.repo) not in there:
            hub.call(
                what,
                lambda ref=ref: hub.api.add_collection_item(  # type: ignore[misc]
                    found.slug, item_id=ref.repo, item_type=ref.kind, exists_ok=True
                ),
            )
    return f"{hub.endpoint}/collections/{found.slug}"
