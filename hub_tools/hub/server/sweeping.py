"""Garbage collection: file contents that no commit of any repo names any more."""

from __future__ import annotations

import secrets
import zlib
from dataclasses import dataclass
from pathlib import Path

from hub_tools.hub.server.database import Database
from hub_tools.hub.server.errors import HubServerError
from hub_tools.hub.server.lock import StoreLock
from hub_tools.hub.server.store import Store
from hub_tools.hub.server.trees import unpack


@dataclass(frozen=True)
class Sweep:
    """What a collection found: files that are kept, and what went (or would go)."""

    kept: int
    files: int
    xorbs: int
    freed: int


def sweep(path: Path, dry_run: bool = False) -> Sweep:
    """Delete contents that no commit names, and all xorbs.

    Xorbs are only the form in which uploads arrive: the files made of them are kept whole. Raises
    `HubServerError` while a server runs, whose clients may be about to name what they have uploaded.
    """
    if not (path / "hub.sqlite").is_file():
        raise HubServerError(f"There is no Hub's store in {path}")
    lock = StoreLock(path)
    try:
        store = Store(path)
        named = named_contents(store.db)
        orphans = [file for file in store.blobs.files() if file.name not in named]
        xorbs = list(store.blobs.xorbs())
        freed = sum(file.stat().st_size for file in [*orphans, *xorbs])
        if not dry_run:
            if xorbs:
                # First of all: from here on no client believes that the xorbs are there.
                store.db.replace_constant("xet", secrets.token_hex(16))
            for file in [*orphans, *xorbs]:
                file.unlink()
            store.blobs.clear_incoming()
        return Sweep(len(named), len(orphans), len(xorbs), freed)
    finally:
        lock.release()


def named_contents(database: Database) -> set[str]:
    """The sha256 of every file of every commit of every repo, but for those deleted for good."""
    with database.read() as db:
        held = set(db.execute("SELECT repo_id, sha256 FROM objects"))
        rows = db.execute("SELECT repo_id, tree FROM commits")
        try:
            return {
                entry.sha256
                for repo_id, packed in rows
                for entry in unpack(bytes(packed)).values()
                if not entry.lfs or (repo_id, entry.sha256) in held
            }
        except (ValueError, TypeError, zlib.error) as error:
            raise HubServerError(
                "The list of a commit's files is damaged; see: backforth hub fsck"
            ) from error
