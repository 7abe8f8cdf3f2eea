"""Pull requests against the branch they want to change: what differs, what clashes, and the merge."""

from __future__ import annotations

import difflib
import sqlite3
from collections.abc import Iterator

from hub_tools.hub.server import commits, refs
from hub_tools.hub.server.blobs import BlobStore
from hub_tools.hub.server.commits import Commit
from hub_tools.hub.server.discussions import Discussion
from hub_tools.hub.server.errors import HubError
from hub_tools.hub.server.repos import Repo
from hub_tools.hub.server.trees import Entry, Tree, check_no_clash

Database = sqlite3.Connection

_MAX_HISTORY = 100_000
_MAX_SHOWN_BYTES = 256 << 10
_MAX_DIFF_CHARACTERS = 2 << 20


class PullRequest:
    """A pull request's own commits and files beside those of its target, inside one transaction."""

    def __init__(self, db: Database, repo: Repo, found: Discussion) -> None:
        self._db, self._repo, self._found = db, repo, found
        self.head = refs.resolve(db, repo, f"{refs.PULL_REQUEST}{found.number}")
        self.target = refs.get(db, repo, str(found.base))
        own = commits.history(db, repo, self.head, 0, _MAX_HISTORY)
        there = (
            {c.oid for c in commits.history(db, repo, self.target, 0, _MAX_HISTORY)} if self.target else set()
        )
        self.commits: list[Commit] = []
        self._start: Tree = {}
        for commit in own:
            if commit.oid in there:
                self._start = commits.tree(db, repo, commit.oid)
                break
            self.commits.append(commit)

    def changes(self) -> dict[str, Entry | None]:
        """The paths that the pull request changes, with their new entry; None is a deletion."""
        return _difference(self._start, commits.tree(self._db, self._repo, self.head))

    def conflicts(self) -> list[str]:
        """The paths that both sides changed since they parted, to different contents."""
        if self.target is None:
            return []
        theirs = _difference(self._start, commits.tree(self._db, self._repo, self.target))
        mine = self.changes()
        return sorted(path for path in mine.keys() & theirs.keys() if not _same(mine[path], theirs[path]))

    def merge(self, author: str, comment: str | None) -> str:
        """Commit all changes onto the target branch as one commit; raises 409 where they clash."""
        if self.target is None:
            raise HubError(409, f"The branch {self._found.base} is gone")
        if clashing := self.conflicts():
            some = ", ".join(clashing[:5])
            raise HubError(
                409, f"The pull request conflicts with its target in {some}", filesWithConflicts=clashing
            )
        files = dict(commits.tree(self._db, self._repo, self.target))
        for path, entry in self.changes().items():
            if entry is None:
                files.pop(path, None)
            else:
                files[path] = entry._replace(commit="")
        check_no_clash(files)
        title = f"{self._found.title} (#{self._found.number})"
        message = "\n".join(
            [f"- {c.title} ({c.oid})" for c in reversed(self.commits)] + ([comment] if comment else [])
        )
        oid = commits.add(
            self._db, self._repo, files, parent=self.target, author=author, title=title, message=message
        )
        refs.put(self._db, self._repo, str(self._found.base), oid)
        return oid

    def diff(self, blobs: BlobStore) -> str:
        """The changes as git shows them, cut off where they get very long."""
        after = commits.tree(self._db, self._repo, self.head)
        pieces: list[str] = []
        length = 0
        for path in sorted(self.changes()):
            for line in _file_diff(blobs, path, self._start.get(path), after.get(path)):
                pieces.append(line)
                length += len(line)
            if length > _MAX_DIFF_CHARACTERS:
                pieces.append("(more changes are not shown)\n")
                break
        return "".join(pieces)


def _same(one: Entry | None, other: Entry | None) -> bool:
    return one is other or (one is not None and other is not None and one.oid == other.oid)


def _difference(before: Tree, after: Tree) -> dict[str, Entry | None]:
    paths = before.keys() | after.keys()
    return {path: after.get(path) for path in paths if not _same(before.get(path), after.get(path))}


def _file_diff(blobs: BlobStore, path: str, before: Entry | None, after: Entry | None) -> Iterator[str]:
    old, new = (f"a/{path}" if before else "/dev/null"), (f"b/{path}" if after else "/dev/null")
    yield f"diff --git a/{path} b/{path}\n"
    lines = [_text_lines(blobs, entry) for entry in (before, after)]
    if lines[0] is None or lines[1] is None:
        yield f"Binary files {old} and {new} differ\n"
        return
    for line in difflib.unified_diff(lines[0], lines[1], old, new):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _text_lines(blobs: BlobStore, entry: Entry | None) -> list[str] | None:
    """A file's lines; None if it is no text or too long to be shown."""
    if entry is None:
        return []
    if entry.lfs or entry.size > _MAX_SHOWN_BYTES:
        return None
    try:
        return blobs.get(entry.sha256).decode().splitlines(keepends=True)
    except UnicodeDecodeError:
        return None
