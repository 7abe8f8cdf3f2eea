"""The large files of a repo over its whole history: listing them, and erasing them from it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from hub_tools.hub.server import commits, objects, refs
from hub_tools.hub.server.repos import Repo
from hub_tools.hub.server.trees import Tree, pack, unpack

Database = sqlite3.Connection


@dataclass(frozen=True)
class LargeFile:
    """One object stored by LFS, with the path and time at which it first came into the repo."""

    sha256: str
    path: str
    size: int
    pushed: str
    ref: str | None


def _history(db: Database, repo: Repo) -> Iterator[tuple[str, str, Tree]]:
    """All commits as (id, date, tree), parents before children."""
    rows = db.execute("SELECT oid, date, tree FROM commits WHERE repo_id = ? ORDER BY rowid", (repo.id,))
    for oid, date, packed in rows:
        yield oid, date, unpack(bytes(packed))


def every(db: Database, repo: Repo) -> list[LargeFile]:
    """Every object that the repo holds and any of its commits names, the oldest first."""
    present = objects.every(db, repo)
    held = {
        entry.sha256: ref
        for ref, oid in reversed(refs.every(db, repo))
        for entry in commits.tree(db, repo, oid).values()
    }
    found: dict[str, LargeFile] = {}
    for _, date, tree in _history(db, repo):
        for path, entry in tree.items():
            if entry.lfs and entry.sha256 in present and entry.sha256 not in found:
                ref = held.get(entry.sha256)
                found[entry.sha256] = LargeFile(entry.sha256, path, entry.size, date, ref)
    return list(found.values())


def rewrite(db: Database, repo: Repo, hashes: set[str]) -> None:
    """Rewrite the history as if the objects had never been in it; commits from there on get other ids."""
    renamed: dict[str, str] = {}
    for oid, _, tree in list(_history(db, repo)):
        kept = {path: entry for path, entry in tree.items() if entry.sha256 not in hashes}
        row = db.execute(
            "SELECT parent FROM commits WHERE repo_id = ? AND oid = ?", (repo.id, oid)
        ).fetchone()
        if len(kept) == len(tree) and row[0] not in renamed:
            continue
        fresh = commits.fresh_id(oid, row[0], sorted(kept))
        renamed[oid] = fresh
        dated = {p: e._replace(commit=renamed.get(e.commit, e.commit)) for p, e in kept.items()}
        db.execute(
            "UPDATE commits SET oid = ?, parent = ?, tree = ? WHERE repo_id = ? AND oid = ?",
            (fresh, renamed.get(row[0], row[0]), pack(dated), repo.id, oid),
        )
    for ref, oid in refs.every(db, repo):
        refs.put(db, repo, ref, renamed.get(oid, oid))
