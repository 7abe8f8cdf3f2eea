"""Verifies published repos: every file against its provenance statement, every statement against the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from dataset_cards.kept import without
from hub_tools.errors import HubError
from hub_tools.hub.digests import digest, sha256
from hub_tools.hub.lineage import Link, Walker
from hub_tools.hub.provenance import PROVENANCE, Statement, Subject
from hub_tools.hub.publishing import SEAL
from hub_tools.hub.repository import VERSION, Hub, Ref, fingerprint_tag
from hub_tools.hub.streaming import fresh_statement, stream

CARD = "README.md"
OWN = (PROVENANCE, ".gitattributes")
STREAMS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What does not match: the repo, the file and its row group (from 0) where it is one, and what is wrong.

    A `note` is worth knowing, but breaks nothing.
    """

    repo: str
    file: str = ""
    row_group: int | None = None
    what: str
    note: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One repo that was looked at: its findings, and how many files and bytes were hashed."""

    link: Link
    findings: list[Finding]
    files: int = 0
    bytes: int = 0

    @property
    def broken(self) -> bool:
        """Whether anything is wrong."""
        return any(not finding.note for finding in self.findings)


def verify(hub: Hub, ref: Ref, hashed: Callable[[int], None] = lambda count: None) -> Iterator[Checked]:
    """Check a repo and everything that it was made of; `hashed` hears of the bytes that went through sha256.

    Nothing comes from a cache: each file is streamed from the Hub. What backforth did not publish has no
    statement to be held against; it is named, and lineage ends there.
    """
    links = Walker(hub, partial(fresh_statement, hub)).chain(ref).links
    head = next(reversed(links))
    promised: dict[str, list[tuple[Link, str | None]]] = {}
    for link in links.values():
        if link.statement:
            for (_, parent), dependency in zip(link.parents, link.statement.dependencies, strict=True):
                promised.setdefault(parent, []).append((link, dependency.statement))
    for key, link in reversed(links.items()):
        if link.ref is None:
            continue
        findings = [
            finding
            for reader, expected in promised.get(key, ())
            for finding in _promise(link, reader, expected)
        ]
        if link.statement:
            yield _check(hub, link.ref, link, link.statement, findings, hashed)
        else:
            file = PROVENANCE if link.damaged else ""
            foreign = key != head and not link.damaged
            ends = Finding(repo=link.ref.name, file=file, what=link.ends, note=foreign)
            yield Checked(link=link, findings=findings or [ends])


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
    findings: list[Finding],
    hashed: Callable[[int], None],
) -> Checked:
    name = ref.name
    try:
        there = hub.names(ref)
        findings += _sealed(hub, ref, statement.sha256)
        findings += _tagged(hub, ref, statement)
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
    hub: Hub, ref: Ref, statement: Statement, subject: Subject, *, hashed: Callable[[int], None]
) -> tuple[list[Finding], int]:
    """Hash a file as it streams by; return what does not match, and the bytes that were read."""

    def pieces() -> Iterator[bytes]:
        for piece in stream(hub, ref, subject.name):
            hashed(len(piece))
            yield piece

    groups = subject.row_groups
    try:
        found = digest(pieces(), [(group.offset, group.length) for group in groups])
    except HubError as error:
        return [Finding(repo=ref.name, file=subject.name, what=str(error))], 0
    if found.sha256 == subject.sha256:
        return [], found.size
    if subject.name == CARD and _edited_by_hand(hub, ref, statement):
        what = "was edited by hand between its marked lines since it was published"
        return [Finding(repo=ref.name, file=CARD, what=what, note=True)], found.size
    what = f"has the sha256 {found.sha256[:12]}…, not {subject.sha256[:12]}…"
    wrong = [
        at for at, (group, now) in enumerate(zip(groups, found.parts, strict=True)) if group.sha256 != now
    ]
    if groups and not wrong:
        what += "; its row groups are whole, so the change lies in its header or footer"
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


def _sealed(hub: Hub, ref: Ref, found: str) -> Iterator[Finding]:
    """Hold the statement against the sha256 that the commit that published it states."""
    commits = hub.call(
        f"{ref.kind} {ref.name}",
        lambda: hub.api.list_repo_commits(ref.repo, revision=ref.sha, repo_type=ref.kind),
    )
    seals = [commit.message.partition(SEAL)[2][:64] for commit in commits if SEAL in commit.message]
    if seals and seals[0] != found:
        yield Finding(
            repo=ref.name,
            file=PROVENANCE,
            what=f"has the sha256 {found[:12]}…, but its commit was made with {seals[0][:12]}…",
        )


def _tagged(hub: Hub, ref: Ref, statement: Statement) -> Iterator[Finding]:
    """Find tags of this commit that its statement does not know: somebody moved them."""
    tags = hub.tags(ref.repo, ref.kind)
    own = [statement.version or "", fingerprint_tag(statement.fingerprint)]
    for tag, sha in sorted(tags.items()):
        if sha == ref.sha and tag not in own and (VERSION.fullmatch(tag) or tag.startswith("fp-")):
            what = f"the tag {tag} was moved here by hand: this commit was published as {' and '.join(own)}"
            yield Finding(repo=ref.name, what=what)
    at = tags.get(own[0])
    if at != ref.sha:
        where = f"stands at {at[:12]}" if at else "is gone"
        yield Finding(repo=ref.name, what=f"its tag {own[0]} {where}; this is {ref.sha[:12]}", note=True)
