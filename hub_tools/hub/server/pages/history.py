"""The history: commits, what each of them changed, and the versions with their changelog."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response

from hub_tools.hub.server import commits
from hub_tools.hub.server.commits import Commit
from hub_tools.hub.server.pages.changes import changes
from hub_tools.hub.server.pages.statements import Record
from hub_tools.hub.server.pages.visit import FINGERPRINT, VERSION, Visit, record_of

PAGE_OF_COMMITS = 50
PAGE_OF_VERSIONS = 30
MAX_FILES = 200


@dataclass(frozen=True)
class Version:
    """A version tag: its commit, the fingerprint tag beside it, and what its statement records."""

    name: str
    oid: str
    commit: Commit
    fingerprint: str
    record: Record | None


def commits_page(visit: Visit) -> Response:
    """The commits that led to a revision, the newest first."""
    number = max(1, visit.call.number("page", 1, 10**6))
    found = commits.history(
        visit.db, visit.repo, visit.oid, (number - 1) * PAGE_OF_COMMITS, PAGE_OF_COMMITS + 1
    )
    names: dict[str, list[str]] = {}
    for name, oid in visit.refs:
        names.setdefault(oid, []).append(name)
    return visit.show(
        "commits",
        tab="commits",
        commits=found[:PAGE_OF_COMMITS],
        names=names,
        number=number,
        more=len(found) > PAGE_OF_COMMITS,
    )


def commit_page(visit: Visit) -> Response:
    """What one commit changed."""
    visit.require_access()
    line = commits.history(visit.db, visit.repo, visit.oid, 0, 2)
    before = commits.tree(visit.db, visit.repo, line[1].oid) if len(line) > 1 else {}
    found, total = changes(visit.call.store.blobs, before, visit.tree, MAX_FILES)
    return visit.show(
        "commit",
        tab="commits",
        commit=line[0],
        parent=line[1] if len(line) > 1 else None,
        changes=found,
        total=total,
    )


def versions_page(visit: Visit) -> Response:
    """The versions, the newest first, and what is new in each; then the other names of commits."""
    number = max(1, visit.call.number("page", 1, 10**6))
    tags = [(name, oid) for name, oid in visit.refs if not name.startswith("refs/")]
    numbered = [(name, oid) for name, oid in tags if VERSION.fullmatch(name)]
    shown = numbered[(number - 1) * PAGE_OF_VERSIONS : number * PAGE_OF_VERSIONS]
    return visit.show(
        "versions",
        tab="versions",
        versions=[_version(visit, name, oid) for name, oid in shown],
        others=[
            (name, oid)
            for name, oid in tags
            if not VERSION.fullmatch(name) and not FINGERPRINT.fullmatch(name)
        ],
        number=number,
        more=number * PAGE_OF_VERSIONS < len(numbered),
    )


def _version(visit: Visit, name: str, oid: str) -> Version:
    return Version(
        name,
        oid,
        commits.get(visit.db, visit.repo, oid),
        next((tag for tag, at in visit.refs if at == oid and FINGERPRINT.fullmatch(tag)), ""),
        record_of(visit.call, visit.db, visit.repo, oid),
    )
