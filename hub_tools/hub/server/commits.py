"""Commits: a parent, a message and a tree. Every one stays readable by its id."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hub_tools.hub.server import discussions, objects, refs
from hub_tools.hub.server.errors import HubError, bad_request, entry_not_found, revision_not_found
from hub_tools.hub.server.operations import CommitRequest, Delete, Put
from hub_tools.hub.server.repos import Repo, now
from hub_tools.hub.server.trees import Entry, Tree, check_no_clash, folder_ids, pack, unpack

Database = sqlite3.Connection

_MAX_RECENT = 32
_recent: dict[str, Tree] = {}
_recent_lock = threading.Lock()


@dataclass(frozen=True)
class Commit:
    """One entry of the history."""

    oid: str
    title: str
    message: str
    author: str
    date: str


def get(db: Database, repo: Repo, oid: str) -> Commit:
    """Read a commit that is known to exist."""
    query = "SELECT oid, title, message, author, date FROM commits WHERE repo_id = ? AND oid = ?"
    return Commit(*db.execute(query, (repo.id, oid)).fetchone())


def _packed_tree(db: Database, repo: Repo, oid: str) -> bytes:
    return bytes(
        db.execute("SELECT tree FROM commits WHERE repo_id = ? AND oid = ?", (repo.id, oid)).fetchone()[0]
    )


def tree(db: Database, repo: Repo, oid: str) -> Tree:
    """The files of a commit; shared, not to be changed."""
    # A commit's id stands for the same files for ever, in whichever repo and store.
    found = _recent.get(oid)
    if found is None:
        found = unpack(_packed_tree(db, repo, oid))
        with _recent_lock:
            _recent[oid] = found
            while len(_recent) > _MAX_RECENT:
                del _recent[next(iter(_recent))]
    return found


def tree_ids(db: Database, repo: Repo, oid: str) -> Mapping[str, str]:
    """Git's ids of the commit's folders."""
    return folder_ids(_packed_tree(db, repo, oid))


def by_id(db: Database, repo: Repo) -> dict[str, Commit]:
    """All commits of a repo, for telling when each file last changed."""
    rows = db.execute("SELECT oid, title, message, author, date FROM commits WHERE repo_id = ?", (repo.id,))
    return {row[0]: Commit(*row) for row in rows}


def history(db: Database, repo: Repo, oid: str, offset: int, limit: int) -> list[Commit]:
    """The commits that led to `oid`, the newest first."""
    query = """
        WITH RECURSIVE line(oid, depth) AS (
            VALUES(?1, 0) UNION ALL
            SELECT parent, depth + 1 FROM line JOIN commits USING (oid)
            WHERE repo_id = ?2 AND parent IS NOT NULL)
        SELECT oid, title, message, author, date FROM line JOIN commits USING (oid)
        WHERE repo_id = ?2 ORDER BY depth LIMIT ?3 OFFSET ?4"""
    return [Commit(*row) for row in db.execute(query, (oid, repo.id, limit, offset))]


def fresh_id(*identity: Any) -> str:
    """An id for a new commit with these properties."""
    # The random part keeps ids apart between stores: caches of clients go by commit id alone.
    text = json.dumps([uuid.uuid4().hex, *identity], sort_keys=True)
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def add(
    db: Database,
    repo: Repo,
    files: Mapping[str, Entry],
    *,
    parent: str | None,
    author: str,
    title: str,
    message: str = "",
) -> str:
    """Write a commit, and mark with its id the files whose entry has none yet."""
    date = now()
    oid = fresh_id(parent, author, title, message, date, {path: e.oid for path, e in files.items()})
    dated = {path: entry if entry.commit else entry._replace(commit=oid) for path, entry in files.items()}
    db.execute(
        "INSERT INTO commits VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
        (repo.id, oid, parent, title, message, author, date, pack(dated)),
    )
    return oid


def copy_all(db: Database, source: Repo, target: Repo) -> None:
    """Give a repo all commits of another."""
    columns = "oid, parent, title, message, author, date, tree"
    query = f"INSERT INTO commits(repo_id, {columns}) SELECT ?, {columns} FROM commits WHERE repo_id = ? ORDER BY rowid"  # noqa: S608, E501
    db.execute(query, (target.id, source.id))


def apply(db: Database, repo: Repo, revision: str, request: CommitRequest, author: str) -> str:
    """Commit to a branch; raises 412 if it has moved on from the parent that was named."""
    ref, head = refs.writable(db, repo, revision)
    oid = _commit_onto(db, repo, head, request, author)
    refs.put(db, repo, ref, oid)
    if ref.startswith(refs.PULL_REQUEST):
        number = int(ref.removeprefix(refs.PULL_REQUEST))
        discussions.note_commit(db, repo, number, author, request.title, oid)
    return oid


def propose(db: Database, repo: Repo, branch: str, request: CommitRequest, author: str) -> tuple[str, int]:
    """Commit to a new pull request on top of a branch; returns the commit and the request's number."""
    base = branch if branch.startswith(refs.BRANCH) else refs.BRANCH + branch
    head = refs.get(db, repo, base)
    if head is None:
        raise revision_not_found(branch)
    oid = _commit_onto(db, repo, head, request, author)
    title = request.title or "Update"
    found = discussions.open_one(db, repo, author, title, request.message, base=base)
    refs.put(db, repo, f"{refs.PULL_REQUEST}{found.number}", oid)
    discussions.note_commit(db, repo, found.number, author, title, oid)
    return oid, found.number


def squash(db: Database, repo: Repo, branch: str, message: str, author: str) -> str:
    """Let a branch start anew: one commit without parent and with the branch's present files."""
    ref, head = refs.writable(db, repo, branch)
    files = {path: entry._replace(commit="") for path, entry in tree(db, repo, head).items()}
    oid = add(db, repo, files, parent=None, author=author, title=message)
    refs.put(db, repo, ref, oid)
    return oid


def _commit_onto(db: Database, repo: Repo, head: str, request: CommitRequest, author: str) -> str:
    if request.parent and not (head.startswith(request.parent) and len(request.parent) >= 7):
        raise HubError(
            412, "The branch was updated since you opened this page. Please refresh and try again."
        )
    files = dict(tree(db, repo, head))
    for operation in request.operations:
        if isinstance(operation, Put):
            _check_held(db, repo, operation)
        _apply_one(files, operation, head)
    check_no_clash(files)
    title = request.title or "Update"
    return add(db, repo, files, parent=head, author=author, title=title, message=request.message)


def _check_held(db: Database, repo: Repo, put: Put) -> None:
    if put.entry.lfs and not objects.holds(db, repo, put.entry.sha256):
        raise bad_request(
            f"The LFS object {put.entry.sha256} of {put.path!r} has not been uploaded to this repo"
        )


def _apply_one(files: dict[str, Entry], operation: Put | Delete, head: str) -> None:
    if isinstance(operation, Put):
        present = files.get(operation.path)
        # A file written again with the same bytes keeps the commit that really changed it.
        if present is None or present[:4] != operation.entry[:4]:
            files[operation.path] = operation.entry
        return
    if operation.path in files and not operation.folder:
        doomed = [operation.path]
    else:
        # Clients may ask for a folder as if it were a file; it goes as a whole then, too.
        prefix = operation.path + "/" if operation.path else ""
        doomed = [path for path in files if path.startswith(prefix)]
    if not doomed:
        raise entry_not_found(operation.path, head)
    for path in doomed:
        del files[path]
