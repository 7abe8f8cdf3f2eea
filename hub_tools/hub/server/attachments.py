"""Pictures, sounds and films that comments show: files under a name that nobody can guess."""

from __future__ import annotations

import re
import secrets
import sqlite3

from hub_tools.hub.server.repos import now
from hub_tools.hub.server.trees import Entry, lfs_entry

Database = sqlite3.Connection

SUFFIXES = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/gif": ".gif",
    "image/webp": ".webp",
    "video/mp4": ".mp4",
    "video/quicktime": ".mov",
    "video/webm": ".webm",
    "audio/mpeg": ".mp3",
    "audio/wav": ".wav",
}
_TYPES = {suffix: media_type for media_type, suffix in SUFFIXES.items()}
ADDRESS = re.compile(r"/uploads/[0-9a-f]{32}\.[a-z0-9]{3,4}")


def add(db: Database, sha256: str, size: int, media_type: str, user: str) -> str:
    """Name a stored file as an attachment of one of the `SUFFIXES`; returns the path of its address."""
    name = secrets.token_hex(16) + SUFFIXES[media_type]
    db.execute("INSERT INTO attachments VALUES(?, ?, ?, ?, ?)", (name, sha256, size, user, now()))
    return f"/uploads/{name}"


def find(db: Database, name: str) -> tuple[str, str] | None:
    """The sha256 and the media type of an attachment."""
    row = db.execute("SELECT sha256 FROM attachments WHERE name = ?", (name,)).fetchone()
    return (str(row[0]), _TYPES["." + name.rpartition(".")[2]]) if row else None


def every(db: Database) -> dict[str, Entry]:
    """All attachments by name."""
    rows = db.execute("SELECT name, sha256, size FROM attachments")
    return {name: lfs_entry(sha256, size) for name, sha256, size in rows}
