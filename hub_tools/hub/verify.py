"""Verifies published repos: every file against its provenance statement, every statement against the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from dataset_cards.kept import without
from hub_tools.errors import HubError
from hub_tools.hub.digests import chunks, digest, sha256
from hub_tools.hub.findings import Checked, Finding
from hub_tools.hub.lineage import Link, Walker
from hub_tools.hub.provenance import PROVENANCE, Dependency, Statement, Subject
from hub_tools.hub.repository import Hub, Ref
from hub_tools.hub.seals import loose_ends
from hub_tools.hub.sources import by_digest, hub_file
from hub_tools.hub.streaming import fresh_statement, stream

CARD = "README.md"
OWN = (PROVENANCE, ".gitattributes")  # the second is the Hub's own, which changes it as it likes
STREAMS = 4
Hashed = Callable[[int], None]
Readers = list[tuple[Link, Dependency]]


def verify(
    hub: Hub,
    ref: Ref,
    sources: Sequence[Path] = (),
    expected: str | None = None,
    hashed: Hashed = lambda count: None,
) -> Iterator[Checked]:
    """Check a repo and everything that it was made of; `hashed` hears of the bytes that went through sha256.

    Nothing comes from a cache: each file is streamed from the Hub. `sources` are files and folders that hold
    local source files, found by their sha256; `expected` is the sha256 that the repo's own statement must
    have. What has no statement to be held against is named, and lineage
    ends there.

    Raises:
        BackforthError: a path in `sources` cannot be read.
    """
    links = Walker(hub, partial(fresh_statement, hub)).chain(ref).links
    head = next(reversed(links))
    readers: dict[str, Readers] = {}
    for link in links.values():
        if link.statement:
            for (_, parent), dependency in zip(link.parents, link.statement.dependencies, strict=True):
                readers.setdefault(parent, []).append((link, dependency))
    wanted = {
        dependency.digest["sha256"]: dependency.uri
        for found in readers.values()
        for _, dependency in found
        if dependency.is_source and not hub_file(dependency.uri)
    }
    local = by_digest(sources, wanted)
    for key, link in reversed(links.items()):
        if link.ref is None:
            yield _source(hub, link, readers[key][0][1], local, hashed)
            continue
        findings = [
            finding
            for reader, dependency in readers.get(key, ())
            for finding in _promise(link, reader, dependency.statement)
        ]
        if key == head and expected and link.statement and link.statement.sha256 != expected.lower():
            what = f"has the sha256 {link.statement.sha256[:12]}…, not {expected[:12]}…, as you expect"
            findings.append(Finding(repo=link.ref.name, file=PROVENANCE, what=what))
        if link.statement:
            vouched = bool(expected) if key == head else any(e.statement for _, e in readers.get(key, ()))
            yield _check(hub, link.ref, link, link.statement, vouched, findings, hashed)
        else:
            yield Checked(link=link, findings=findings or [_end(link, link.ref, is_head=key == head)])


def _end(link: Link, ref: Ref, *, is_head: bool) -> Finding:
    """Say why lineage ends at a repo: it is damaged, or it is somebody else's, and then not checked."""
    foreign = not is_head and not link.damaged
    return Finding(
        repo=ref.name,
        file=PROVENANCE if link.damaged else "",
        what=link.ends,
        note=foreign,
        unchecked=foreign,
    )


def _source(
    hub: Hub, link: Link, dependency: Dependency, local: Mapping[str, Path], hashed: Hashed
) -> Checked:
    """Hash a source file where it can be had: on the Hub, or among the local files that were given."""
    name, expected = dependency.uri, dependency.digest.get("sha256", "")
    address, path = hub_file(name), local.get(expected)
    if not dependency.is_source or not (address or path):
        what = "is no file of the Hub; name it, or its folder, with --source"
        if not dependency.is_source:
            what = "lies in a registry of packages"
        return Checked(link=link, findings=[Finding(repo=name, what=what, note=True, unchecked=True)])
    try:
        found = digest(_counted(stream(hub, *address) if address else chunks(path or Path()), hashed))
    except HubError as error:
        return Checked(link=link, findings=[Finding(repo=name, what=str(error))])
    except OSError as error:
        return Checked(link=link, findings=[Finding(repo=name, what=f"cannot be read: {error.strerror}")])
    what = f"has the sha256 {found.sha256[:12]}…, not {expected[:12]}…"
    wrong = [] if found.sha256 == expected else [Finding(repo=name, what=what)]
    return Checked(link=link, findings=wrong, files=1, bytes=found.size)


def _counted(pieces: Iterator[bytes], hashed: Hashed) -> Iterator[bytes]:
    for piece in pieces:
        hashed(len(piece))
        yield piece


def _promise(link: Link, reader: Link, expected: str | None) -> Iterator[Finding]:
    """Hold a repo's statement against what the statement of the node that read it says of it."""
    assert link.ref is not None
    assert reader.ref is not None
    if expected is None:
        return
    if link.statement is None:
        yield Finding(
            repo=link.ref.name, file=PROVENANCE, what=f"{reader.ref.name} read it with one, but {link.ends}"
        )
    elif link.statement.sha256 != expected:
        yield Finding(
            repo=link.ref.name,
            file=PROVENANCE,
            what=f"is not the one that {reader.ref.name} was made with (sha256 {expected[:12]}…)",
        )


def _check(
    hub: Hub,
    ref: Ref,
    link: Link,
    statement: Statement,
    vouched: bool,
    findings: list[Finding],
    hashed: Hashed,
) -> Checked:
    name = ref.name
    try:
        there = hub.names(ref)
        findings += loose_ends(hub, ref, statement, vouched)
    except HubError as error:
        return Checked(link=link, findings=[*findings, Finding(repo=name, what=str(error))])
    subjects = {subject.name: subject for subject in statement.subject}
    findings += [
        Finding(repo=name, file=path, what="is missing") for path in sorted(set(subjects) - set(there))
    ]
    findings += [
        Finding(repo=name, file=path, what="is named by no statement")
        for path in sorted(set(there) - set(subjects) - set(OWN))
    ]
    present = [subject for path, subject in sorted(subjects.items()) if path in there]
    with ThreadPoolExecutor(STREAMS) as pool:
        results = list(pool.map(partial(_file, hub, ref, statement, hashed=hashed), present))
    findings += [finding for found, _ in results for finding in found]
    return Checked(link=link, findings=findings, files=len(present), bytes=sum(size for _, size in results))


def _file(
    hub: Hub, ref: Ref, statement: Statement, subject: Subject, *, hashed: Hashed
) -> tuple[list[Finding], int]:
    """Hash a file as it streams by; return what does not match, and the bytes that were read."""
    groups = subject.row_groups
    pieces = _counted(stream(hub, ref, subject.name), hashed)
    try:
        found = digest(pieces, [(group.offset, group.length) for group in groups])
    except HubError as error:
        return [Finding(repo=ref.name, file=subject.name, what=str(error))], 0
    pairs = enumerate(zip(groups, found.parts, strict=True))
    wrong = [at for at, (group, now) in pairs if group.sha256 != now]
    if found.sha256 == subject.sha256:
        what = f"states another sha256 for row groups of {subject.name} than for the whole: it was edited"
        return [Finding(repo=ref.name, file=PROVENANCE, what=what)] if wrong else [], found.size
    if subject.name == CARD and _edited_by_hand(hub, ref, statement):
        what = "was edited by hand between its marked lines since it was published"
        return [Finding(repo=ref.name, file=CARD, what=what, note=True)], found.size
    what = f"has the sha256 {found.sha256[:12]}…, not {subject.sha256[:12]}…"
    if groups and not wrong:
        what += "; its row groups are whole, so the change lies in its header or footer"
    if len(groups) > 1 and len(wrong) == len(groups):
        what += f"; none of its {len(groups):,} row groups is what it was"
        wrong = []
    where: list[int | None] = [*wrong] if wrong else [None]
    return [
        Finding(repo=ref.name, file=subject.name, row_group=at, what=_where(subject, at, what))
        for at in where
    ], found.size


def _where(subject: Subject, at: int | None, what: str) -> str:
    if at is None:
        return what
    group = subject.row_groups[at]
    first = sum(before.rows for before in subject.row_groups[:at])
    return f"{what}; the change lies in rows {first:,} to {first + group.rows - 1:,}"


def _edited_by_hand(hub: Hub, ref: Ref, statement: Statement) -> bool:
    """Whether the card is the published one but for the passage that a person may write."""
    tags: Mapping[str, str] = hub.tags(ref.repo, ref.kind)
    published = tags.get(statement.version or "")
    if published in (None, ref.sha):
        return False
    was = b"".join(stream(hub, Ref(ref.kind, ref.repo, str(published)), CARD))
    now = b"".join(stream(hub, ref, CARD))
    expected = next(subject.sha256 for subject in statement.subject if subject.name == CARD)
    return sha256(was) == expected and without(was.decode("utf-8", "replace")) == without(
        now.decode("utf-8", "replace")
    )
