"""Collections in the database: an ordered list of repos with notes, under a title."""

from __future__ import annotations

import json
import re
import secrets
import sqlite3
from typing import Any

from hub_tools.hub.server.errors import HubError
from hub_tools.hub.server.repos import now

Database = sqlite3.Connection
Json = dict[str, Any]

MAX_ITEMS = 10_000


def create(db: Database, namespace: str, title: str, description: str | None, private: bool) -> Json:
    """Add an empty collection; 409 with its slug if the namespace has one of this title."""
    taken = db.execute(
        "SELECT body FROM collections WHERE namespace = ? AND title = ?", (namespace, title)
    ).fetchone()
    if taken:
        slug = json.loads(taken[0])["slug"]
        raise HubError(409, f"A collection titled {title!r} already exists", slug=slug)
    number = secrets.token_hex(12)
    body: Json = {
        "slug": _slug(namespace, title, number),
        "title": title,
        "description": description,
        "owner": {"name": namespace, "type": "user"},
        "items": [],
        "position": 0,
        "private": private,
        "theme": "indigo",
        "upvotes": 0,
        "gating": False,
        "lastUpdated": now(),
    }
    db.execute("INSERT INTO collections VALUES(?, ?, ?, ?)", (number, namespace, title, json.dumps(body)))
    return body


def _slug(namespace: str, title: str, number: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "collection"
    return f"{namespace}/{words[:80]}-{number}"


def _number(slug: str) -> str:
    """The part of a slug that stays when the title changes."""
    return slug.rpartition("-")[2]


def get(db: Database, slug: str, viewer: str | None, orgs: tuple[str, ...] = ()) -> Json:
    """Read a collection; a private one is missing for all but its owners."""
    namespace = slug.partition("/")[0]
    query = "SELECT body FROM collections WHERE id = ? AND namespace = ?"
    row = db.execute(query, (_number(slug), namespace)).fetchone()
    body: Json | None = json.loads(row[0]) if row else None
    if body is None or (body["private"] and namespace not in (viewer, *orgs)):
        raise HubError(404 if viewer else 401, f"Collection not found: {slug}")
    return body


def every(db: Database, viewer: str | None, orgs: tuple[str, ...] = ()) -> list[Json]:
    """All collections that a viewer may see, the one changed last first."""
    bodies: list[Json] = [json.loads(row[0]) for row in db.execute("SELECT body FROM collections")]
    visible = [body for body in bodies if not body["private"] or body["owner"]["name"] in (viewer, *orgs)]
    return sorted(visible, key=lambda body: str(body["lastUpdated"]), reverse=True)


def save(db: Database, body: Json) -> Json:
    """Write a changed collection; the slug follows its title."""
    namespace, number = body["owner"]["name"], _number(body["slug"])
    for position, item in enumerate(body["items"]):
        item["position"] = position
    body |= {"slug": _slug(namespace, body["title"], number), "lastUpdated": now()}
    query = "SELECT 1 FROM collections WHERE namespace = ? AND title = ? AND id <> ?"
    if db.execute(query, (namespace, body["title"], number)).fetchone():
        raise HubError(409, f"A collection titled {body['title']!r} already exists", slug=body["slug"])
    values = (body["title"], json.dumps(body), number)
    db.execute("UPDATE collections SET title = ?, body = ? WHERE id = ?", values)
    return body


def delete(db: Database, body: Json) -> None:
    """Remove a collection, not the repos in it."""
    db.execute("DELETE FROM collections WHERE id = ?", (_number(body["slug"]),))


def add_item(body: Json, kind: str, name: str, note: str | None) -> None:
    """Put a repo at the end of a collection; 409 if it is in there."""
    if any((item["type"], item["id"]) == (kind, name) for item in body["items"]):
        raise HubError(409, f"{name} is already in the collection", slug=body["slug"])
    if len(body["items"]) >= MAX_ITEMS:
        raise HubError(400, f"A collection holds at most {MAX_ITEMS} items")
    body["items"].append({"_id": secrets.token_hex(12), "id": name, "type": kind, "note": _note(note)})


def change_item(body: Json, number: str, note: str | None, position: int | None) -> None:
    """Give an item another note or place; None leaves either as it is."""
    item = _item(body, number)
    if note is not None:
        item["note"] = _note(note)
    if position is not None:
        body["items"].remove(item)
        body["items"].insert(position, item)


def remove_item(body: Json, number: str) -> None:
    """Take an item out of a collection."""
    body["items"].remove(_item(body, number))


def _item(body: Json, number: str) -> Json:
    for item in body["items"]:
        if item["_id"] == number:
            found: Json = item
            return found
    raise HubError(404, f"The collection has no item {number}")


def _note(text: str | None) -> Json | None:
    return {"text": text} if text else None
