"""The repos: names, visibility, and the names they had before."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime

from hub_tools.hub.server.errors import HubError, HubServerError, bad_request

Database = sqlite3.Connection

KINDS = ("model", "dataset", "space")
_COLUMNS = "id, kind, name, private, gated, created"
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_-])?")
# First parts of the server's own addresses: a namespace of this name could never be reached.
RESERVED = frozenset(
    {"api", "models", "datasets", "spaces", "collections", "login", "logout", "uploads"}
    | {"_lfs", "_cas", "_store"}
)


@dataclass(frozen=True)
class Repo:
    """One repo's row; `gated` is empty, "auto" or "manual"."""

    id: int
    kind: str
    name: str
    private: bool
    gated: str
    created: str

    @property
    def namespace(self) -> str:
        """Whose repo it is."""
        return self.name.partition("/")[0]

    @property
    def web_path(self) -> str:
        """The path of its page, which all its file addresses start with."""
        return web_path(self.kind, self.name)


def web_path(kind: str, name: str) -> str:
    """The path of a repo's page: models have no prefix."""
    return f"/{name}" if kind == "model" else f"/{kind}s/{name}"


def now() -> str:
    """The time as the Hub writes it, UTC in milliseconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def is_name(part: str) -> bool:
    """Whether the Hub's rules allow this as a namespace or as the name of a repo."""
    return bool(_NAME.fullmatch(part)) and "--" not in part and ".." not in part and not part.endswith(".git")


def check_namespace(name: str) -> None:
    """Refuse a name that no user or organisation can have."""
    if not is_name(name) or name in RESERVED:
        raise HubServerError(f"{name!r} cannot be a namespace: use letters, digits, '-', '_' and '.'")


def check_name(name: str) -> None:
    """Refuse a full repo name that is not `namespace/name` in letters, digits, `-`, `_` and `.`."""
    parts = name.split("/")
    if len(parts) != 2 or not all(is_name(part) for part in parts) or parts[0] in RESERVED:
        raise bad_request(
            f"{name[:200]!r} is no repo name: use namespace/name with letters, digits, '-', '_' and '.',"
            " at most 96 characters each, no '--' or '..'"
        )


def get(db: Database, kind: str, name: str) -> Repo | None:
    """Find a repo by its name in any case, or by one it had before it was moved."""
    named = f"SELECT {_COLUMNS} FROM repos WHERE kind = ? AND name = ? COLLATE NOCASE"  # noqa: S608
    row = db.execute(named, (kind, name)).fetchone()
    if row is None:
        moved = "SELECT repo_id FROM aliases WHERE kind = ? AND name = ? COLLATE NOCASE"
        query = f"SELECT {_COLUMNS} FROM repos WHERE id = ({moved})"  # noqa: S608
        row = db.execute(query, (kind, name)).fetchone()
    return _from_row(row) if row else None


def _from_row(row: tuple[int, str, str, int, str, str]) -> Repo:
    number, kind, name, private, gated, created = row
    return Repo(number, kind, name, bool(private), gated, created)


def every(db: Database, kind: str) -> list[Repo]:
    """All repos of a kind, the newest first."""
    rows = db.execute(f"SELECT {_COLUMNS} FROM repos WHERE kind = ? ORDER BY id DESC", (kind,))  # noqa: S608
    return [_from_row(row) for row in rows]


def create(db: Database, kind: str, name: str, private: bool) -> Repo:
    """Add a repo without commits; raises 409 if the name is taken."""
    check_name(name)
    _check_free(db, kind, name)
    db.execute("DELETE FROM aliases WHERE kind = ? AND name = ?", (kind, name))
    created = now()
    cursor = db.execute(
        "INSERT INTO repos(kind, name, private, created) VALUES(?, ?, ?, ?)",
        (kind, name, int(private), created),
    )
    return Repo(int(cursor.lastrowid or 0), kind, name, private, "", created)


def _check_free(db: Database, kind: str, name: str) -> None:
    taken = "SELECT 1 FROM repos WHERE kind = ? AND name = ? COLLATE NOCASE"
    if db.execute(taken, (kind, name)).fetchone():
        raise HubError(409, f"A {kind} repository called {name} already exists: you already created it")


def delete(db: Database, repo: Repo) -> None:
    """Remove a repo with its commits and refs; file contents stay until they are collected."""
    db.execute("DELETE FROM repos WHERE id = ?", (repo.id,))


def move(db: Database, repo: Repo, name: str) -> None:
    """Give a repo a new name; the old one goes on to find it."""
    check_name(name)
    if name == repo.name:
        return
    _check_free(db, repo.kind, name)
    db.execute("DELETE FROM aliases WHERE kind = ? AND name = ?", (repo.kind, name))
    db.execute("UPDATE repos SET name = ? WHERE id = ?", (name, repo.id))
    db.execute("INSERT OR REPLACE INTO aliases VALUES(?, ?, ?)", (repo.kind, repo.name, repo.id))


def configure(db: Database, repo: Repo, private: bool | None, gated: str | None) -> None:
    """Change visibility and gating; None leaves a setting as it is."""
    if private is not None:
        db.execute("UPDATE repos SET private = ? WHERE id = ?", (int(private), repo.id))
    if gated is not None:
        db.execute("UPDATE repos SET gated = ? WHERE id = ?", (gated, repo.id))
