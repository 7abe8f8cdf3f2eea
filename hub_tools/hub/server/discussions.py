"""Discussions and pull requests: a title, a status and the events that happened, oldest first."""

from __future__ import annotations

import json
import secrets
import sqlite3
from dataclasses import dataclass
from html import escape
from typing import Any

from hub_tools.hub.server.errors import HubError, bad_request
from hub_tools.hub.server.repos import Repo, now

Database = sqlite3.Connection
Json = dict[str, Any]

_COLUMNS = "number, title, author, created, status, base, merged"


@dataclass(frozen=True)
class Discussion:
    """One discussion; a pull request if it has a `base`, the full name of the branch it wants to change."""

    number: int
    title: str
    author: str
    created: str
    status: str
    base: str | None
    merged: str | None


def get(db: Database, repo: Repo, number: int) -> Discussion:
    """Read one discussion; raises 404."""
    query = f"SELECT {_COLUMNS} FROM discussions WHERE repo_id = ? AND number = ?"  # noqa: S608
    row = db.execute(query, (repo.id, number)).fetchone()
    if row is None:
        raise HubError(404, f"{repo.name} has no discussion {number}")
    return Discussion(*row)


def every(db: Database, repo: Repo) -> list[Discussion]:
    """All discussions of a repo, the newest first."""
    query = f"SELECT {_COLUMNS} FROM discussions WHERE repo_id = ? ORDER BY number DESC"  # noqa: S608
    return [Discussion(*row) for row in db.execute(query, (repo.id,))]


def open_one(
    db: Database,
    repo: Repo,
    author: str,
    title: str,
    text: str,
    *,
    base: str | None = None,
    draft: bool = False,
) -> Discussion:
    """Start a discussion, or with a `base` a pull request, under the next number, with its first comment."""
    query = "SELECT coalesce(max(number), 0) + 1 FROM discussions WHERE repo_id = ?"
    number = int(db.execute(query, (repo.id,)).fetchone()[0])
    values = (repo.id, number, title, author, now(), "draft" if draft else "open", base)
    db.execute("INSERT INTO discussions VALUES(?, ?, ?, ?, ?, ?, ?, NULL)", values)
    comment(db, repo, number, author, text)
    return get(db, repo, number)


def _add_event(db: Database, repo: Repo, number: int, kind: str, author: str, data: Json) -> Json:
    event = secrets.token_hex(12)
    created = now()
    values = (event, repo.id, number, kind, author, created, json.dumps(data))
    db.execute("INSERT INTO events VALUES(?, ?, ?, ?, ?, ?, ?)", values)
    return _event_json(event, kind, author, created, data)


def _event_json(event: str, kind: str, author: str, created: str, data: Json) -> Json:
    return {"id": event, "type": kind, "author": {"name": author}, "createdAt": created, "data": data}


def events(db: Database, repo: Repo, number: int) -> list[Json]:
    """What happened in a discussion, in the form that clients read."""
    query = (
        "SELECT id, type, author, created, data FROM events WHERE repo_id = ? AND number = ? ORDER BY rowid"
    )
    rows = db.execute(query, (repo.id, number))
    return [
        _event_json(event, kind, author, created, json.loads(data))
        for event, kind, author, created, data in rows
    ]


def _latest(author: str, text: str) -> Json:
    # The text is never rendered here: as HTML it is the same text in a paragraph.
    return {"raw": text, "html": f"<p>{escape(text)}</p>", "updatedAt": now(), "author": {"name": author}}


def comment(db: Database, repo: Repo, number: int, author: str, text: str) -> Json:
    """Add a comment."""
    latest = _latest(author, text)
    data = {"edited": False, "hidden": False, "latest": latest, "history": [latest], "numEdits": 0}
    return _add_event(db, repo, number, "comment", author, data)


def change_comment(db: Database, repo: Repo, number: int, event: str, editor: str, text: str | None) -> Json:
    """Give a comment another text, or hide it for good with None; raises 404."""
    query = (
        "SELECT id, type, author, created, data FROM events"
        " WHERE repo_id = ? AND number = ? AND id = ? AND type = 'comment'"
    )
    row = db.execute(query, (repo.id, number, event)).fetchone()
    if row is None:
        raise HubError(404, f"Discussion {number} has no comment {event[:50]}")
    data = json.loads(row[4])
    if data["hidden"]:
        raise bad_request("A hidden comment cannot be changed any more")
    latest = _latest(editor, text or "")
    data |= {"edited": text is not None, "hidden": text is None, "latest": latest}
    data["history"] = [*data["history"], latest] if text is not None else [latest]
    data["numEdits"] = len(data["history"]) - 1
    db.execute("UPDATE events SET data = ? WHERE id = ?", (json.dumps(data), event))
    event, kind, author, created, _ = row
    return _event_json(event, kind, author, created, data)


def comment_author(db: Database, repo: Repo, number: int, event: str) -> str | None:
    """Who wrote a comment; None if there is no such comment."""
    query = "SELECT author FROM events WHERE repo_id = ? AND number = ? AND id = ? AND type = 'comment'"
    row = db.execute(query, (repo.id, number, event)).fetchone()
    return str(row[0]) if row else None


def rename(db: Database, repo: Repo, found: Discussion, author: str, title: str) -> Json:
    """Change the title."""
    values = (title, repo.id, found.number)
    db.execute("UPDATE discussions SET title = ? WHERE repo_id = ? AND number = ?", values)
    return _add_event(db, repo, found.number, "title-change", author, {"from": found.title, "to": title})


def set_status(db: Database, repo: Repo, found: Discussion, author: str, status: str) -> Json:
    """Open or close; a merged pull request stays merged."""
    if found.status == "merged":
        raise bad_request("The pull request is merged already")
    values = (status, repo.id, found.number)
    db.execute("UPDATE discussions SET status = ? WHERE repo_id = ? AND number = ?", values)
    return _add_event(db, repo, found.number, "status-change", author, {"status": status})


def note_commit(db: Database, repo: Repo, number: int, author: str, title: str, oid: str) -> None:
    """Record a commit to a pull request."""
    _add_event(db, repo, number, "commit", author, {"subject": title, "oid": oid})


def note_merge(db: Database, repo: Repo, found: Discussion, author: str, oid: str) -> None:
    """Record that a pull request was merged as the commit `oid`."""
    set_status(db, repo, found, author, "merged")
    values = (oid, repo.id, found.number)
    db.execute("UPDATE discussions SET merged = ? WHERE repo_id = ? AND number = ?", values)
