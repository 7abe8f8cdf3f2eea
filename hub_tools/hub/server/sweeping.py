"""Garbage collection: file contents that no commit of any repo names any more."""

from __future__ import annotations

import secrets
import sqlite3
import time
import zlib
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from hub_tools.hub.server import attachments
from hub_tools.hub.server.database import Database
from hub_tools.hub.server.errors import HubServerError
from hub_tools.hub.server.lock import StoreLock
from hub_tools.hub.server.store import Store
from hub_tools.hub.server.trees import unpack

GRACE_HOURS = 24.0


@dataclass(frozen=True)
class Sweep:
    """What a collection found: files that are kept, and what went (or would go)."""

    kept: int
    files: int
    xorbs: int
    freed: int


def sweep(path: Path, dry_run: bool = False, grace_hours: float = GRACE_HOURS) -> Sweep:
    """Delete contents that no commit names, and all xorbs.

    What was uploaded to a repo within the last hours stays, for the commit that is to name it may still come.
    Xorbs are only the form in which uploads arrive: the files made of them are kept whole. Raises
    `HubServerError` while a server runs, and where the disk refuses.
    """
    if not (path / "hub.sqlite").is_file():
        raise HubServerError(f"There is no Hub's store in {path}")
    lock = StoreLock(path)
    try:
        with closing(Store(path)) as store:
            named = named_contents(store.db) | _awaited(store, grace_hours)
            orphans = [file for file in store.blobs.files() if file.name not in named]
            xorbs = list(store.blobs.xorbs())
            freed = sum(file.stat().st_size for file in [*orphans, *xorbs])
            if not dry_run:
                _delete(store, orphans, xorbs)
            return Sweep(len(named), len(orphans), len(xorbs), freed)
    except (OSError, sqlite3.Error) as error:
        raise HubServerError(f"{path} cannot be collected: {error}") from error
    finally:
        lock.release()


def _delete(store: Store, orphans: list[Path], xorbs: list[Path]) -> None:
    store.blobs.clear_incoming()
    # These first, so that a full disk has room for what the database writes.
    for file in orphans:
        file.unlink()
    if xorbs:
        # From here on no client believes that the xorbs are there.
        store.db.replace_constant("xet", secrets.token_hex(16))
    for file in xorbs:
        file.unlink()


def _awaited(store: Store, grace_hours: float) -> set[str]:
    """What repos have been sent of late."""
    oldest = time.time() - grace_hours * 3600
    with store.db.read() as db:
        held = [str(row[0]) for row in db.execute("SELECT DISTINCT sha256 FROM objects")]
    return {sha for sha in held if store.blobs.has(sha) and store.blobs.path(sha).stat().st_mtime > oldest}


def named_contents(database: Database) -> set[str]:
    """The sha256 of every attachment, and of every file of every commit but for those deleted for good."""
    with database.read() as db:
        attached = {entry.sha256 for entry in attachments.every(db).values()}
        held = set(db.execute("SELECT repo_id, sha256 FROM objects"))
        rows = db.execute("SELECT repo_id, tree FROM commits")
        try:
            return attached | {
                entry.sha256
                for repo_id, packed in rows
                for entry in unpack(bytes(packed)).values()
                if not entry.lfs or (repo_id, entry.sha256) in held
            }
        except (ValueError, TypeError, zlib.error) as error:
            raise HubServerError(
                "The list of a commit's files is damaged; see: backforth hub fsck"
            ) from error
