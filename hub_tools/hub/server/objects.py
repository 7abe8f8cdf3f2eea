"""The LFS objects that each repo holds: only these can its commits name and its readers get.

Contents are stored once for all repos, and listings show their sha256 to people who may not read them:
knowing a hash must not be enough to get what it stands for.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from hub_tools.hub.server.errors import HubError
from hub_tools.hub.server.repos import Repo
from hub_tools.hub.server.trees import Entry, Tree

Database = sqlite3.Connection


def holds(db: Database, repo: Repo, sha256: str) -> bool:
    """Whether the object has been sent to the repo, or copied to it by somebody who could read it."""
    query = "SELECT 1 FROM objects WHERE repo_id = ? AND sha256 = ?"
    return db.execute(query, (repo.id, sha256)).fetchone() is not None


def every(db: Database, repo: Repo) -> set[str]:
    """All objects that the repo holds."""
    return {str(row[0]) for row in db.execute("SELECT sha256 FROM objects WHERE repo_id = ?", (repo.id,))}


def add(db: Database, repo_id: int, hashes: Iterable[str]) -> None:
    """Let a repo hold objects; does nothing if it has been deleted meanwhile."""
    query = "INSERT OR IGNORE INTO objects SELECT id, ? FROM repos WHERE id = ?"
    db.executemany(query, [(sha256, repo_id) for sha256 in hashes])


def remove(db: Database, repo: Repo, hashes: Iterable[str]) -> None:
    """Take objects from a repo; files that are still listed have no content then."""
    query = "DELETE FROM objects WHERE repo_id = ? AND sha256 = ?"
    db.executemany(query, [(repo.id, sha256) for sha256 in hashes])


def copy_all(db: Database, source: Repo, target: Repo) -> None:
    """Let a repo hold all objects of another."""
    query = "INSERT OR IGNORE INTO objects SELECT ?, sha256 FROM objects WHERE repo_id = ?"
    db.execute(query, (target.id, source.id))


def readable(db: Database, repo: Repo, tree: Tree) -> Tree:
    """A tree without the files whose content was deleted for good."""
    held = every(db, repo)
    return {path: entry for path, entry in tree.items() if not entry.lfs or entry.sha256 in held}


def require(db: Database, repo: Repo, path: str, entry: Entry) -> None:
    """Refuse to read a file whose content was deleted for good; raises 404."""
    if entry.lfs and not holds(db, repo, entry.sha256):
        raise HubError(404, f'The content of "{path}" was permanently deleted', "EntryNotFound")
