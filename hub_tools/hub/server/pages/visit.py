"""One look at a repo: who asks, at which revision, and what lies there."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from starlette.responses import HTMLResponse

from hub_tools.hub.server import commits, gating, objects, refs
from hub_tools.hub.server.commits import Commit
from hub_tools.hub.server.errors import HubError, entry_not_found
from hub_tools.hub.server.http import Call
from hub_tools.hub.server.pages import statements
from hub_tools.hub.server.pages.render import href, page
from hub_tools.hub.server.pages.statements import Record
from hub_tools.hub.server.repos import Repo
from hub_tools.hub.server.trees import Entry, Tree

VERSION = re.compile(r"v(\d{1,9})")
FINGERPRINT = re.compile(r"fp-([0-9a-f]{12})")


@dataclass
class Visit:
    """A repo at a revision, as the address of a page names them."""

    call: Call
    db: sqlite3.Connection
    repo: Repo
    revision: str
    oid: str

    @classmethod
    def of(cls, call: Call, db: sqlite3.Connection, kind: str) -> Visit:
        """Find what the address names; raises 401 or 404."""
        repo = call.repo(db, kind=kind)
        revision = call.part("rev") or call.request.query_params.get("revision") or "main"
        proposed = refs.PULL_REQUEST + call.part("number")
        if call.part("number") and refs.get(db, repo, proposed):
            revision = proposed
        return cls(call, db, repo, revision, refs.resolve(db, repo, revision))

    @cached_property
    def tree(self) -> Tree:
        """The files at this revision."""
        return commits.tree(self.db, self.repo, self.oid)

    @cached_property
    def readable(self) -> Tree:
        """The files that have not been deleted for good from all revisions."""
        return objects.readable(self.db, self.repo, self.tree)

    @cached_property
    def commit(self) -> Commit:
        """The commit that the revision stands for."""
        return commits.get(self.db, self.repo, self.oid)

    @cached_property
    def refs(self) -> list[tuple[str, str]]:
        """Branches, then versions from the newest on, then other tags and pull requests: name and commit."""
        found = [
            (ref.removeprefix(refs.BRANCH).removeprefix(refs.TAG), oid)
            for ref, oid in refs.every(self.db, self.repo)
        ]
        return sorted(found, key=lambda pair: _rank(pair[0]))

    @cached_property
    def tags(self) -> list[str]:
        """The other names of this commit: versions first."""
        return [name for name, oid in self.refs if oid == self.oid and name not in ("main", self.revision)]

    @cached_property
    def record(self) -> Record | None:
        """What this revision's statement says."""
        return record_of(self.call, self.db, self.repo, self.oid)

    def require_access(self) -> None:
        """Refuse what is inside the files of a gated repo to those who have not been let in."""
        gating.require_access(self.db, self.call.viewer, self.repo)

    def entry(self, path: str) -> Entry:
        """A file; raises 404."""
        if path not in self.tree:
            raise entry_not_found(path, self.revision, self.oid)
        objects.require(self.db, self.repo, path, self.tree[path])
        return self.tree[path]

    def query(self, name: str) -> str:
        """A parameter of the address; empty if it is not there."""
        return self.call.request.query_params.get(name, "")

    def at(self, verb: str, path: str = "", revision: str = "") -> str:
        """The address of a file, folder or history at a revision, this one unless another is named."""
        return href(f"{self.repo.web_path}/{verb}", revision or self.revision, path)

    def to(self, verb: str = "", **query: object) -> str:
        """The address of one of the repo's other pages, at this revision."""
        base = f"{self.repo.web_path}/{verb}" if verb else self.repo.web_path
        return href(base, revision=self.revision if self.revision != "main" else None, **query)

    def show(self, template: str, **values: Any) -> HTMLResponse:
        """A page of this repo."""
        return page(
            template, visit=self, repo=self.repo, viewer=self.call.viewer, base=self.call.base, **values
        )


def record_of(call: Call, db: sqlite3.Connection, repo: Repo, oid: str) -> Record | None:
    """What the statement of a commit says, to those who may read it."""
    try:
        gating.require_access(db, call.viewer, repo)
    except HubError:
        return None
    return statements.record(call.store.blobs, commits.tree(db, repo, oid))


def _rank(name: str) -> tuple[int, int, str]:
    if name == "main":
        return 0, 0, name
    if version := VERSION.fullmatch(name):
        return 1, -int(version[1]), name
    if name.startswith(refs.PULL_REQUEST):
        return 4, int(name.removeprefix(refs.PULL_REQUEST)), name
    return (3 if FINGERPRINT.fullmatch(name) else 2), 0, name
