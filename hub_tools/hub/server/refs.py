"""Branches, tags and pull requests: names for commits."""

from __future__ import annotations

import re
import sqlite3

from hub_tools.hub.server.errors import HubError, bad_request, revision_not_found
from hub_tools.hub.server.repos import Repo

Database = sqlite3.Connection

BRANCH, TAG, PULL_REQUEST = "refs/heads/", "refs/tags/", "refs/pr/"
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|\.lock(/|$)|(^|/)\.|\.$|^/|/$|^-|^@$")


def check_ref_name(name: str) -> None:
    """Refuse what git would refuse, and names that could be taken for a commit id or another kind of ref."""
    if not name or len(name) > 200 or _FORBIDDEN.search(name) or name.startswith("refs/"):
        raise bad_request(f"{name[:200]!r} is no valid name for a branch or tag")
    if re.fullmatch(r"[0-9a-f]{40}", name):
        raise bad_request(f"{name!r} could be mistaken for a commit id; choose another name")


def get(db: Database, repo: Repo, ref: str) -> str | None:
    """The commit a full ref name stands for."""
    row = db.execute("SELECT oid FROM refs WHERE repo_id = ? AND name = ?", (repo.id, ref)).fetchone()
    return str(row[0]) if row else None


def resolve(db: Database, repo: Repo, revision: str) -> str:
    """Turn a branch, tag, full ref or (shortened) commit id into a commit id; raises 404."""
    for ref in (BRANCH + revision, TAG + revision, revision):
        if oid := get(db, repo, ref):
            return oid
    if re.fullmatch(r"[0-9a-f]{7,40}", revision):
        found = db.execute(
            "SELECT oid FROM commits WHERE repo_id = ? AND oid >= ? AND oid <= ? LIMIT 2",
            (repo.id, revision, revision + "g"),
        ).fetchall()
        if len(found) == 1:
            return str(found[0][0])
    raise revision_not_found(revision)


def writable(db: Database, repo: Repo, revision: str) -> tuple[str, str]:
    """The full name and commit of a branch or pull request; raises 404, or 400 for a tag or commit."""
    for ref in (BRANCH + revision, revision):
        if (oid := get(db, repo, ref)) and not ref.startswith(TAG):
            return ref, oid
    resolve(db, repo, revision)
    raise bad_request(f"{revision!r} is not a branch, and commits go to branches only")


def put(db: Database, repo: Repo, ref: str, oid: str, message: str | None = None) -> None:
    """Let a ref point to a commit, whether or not it existed."""
    db.execute(
        "INSERT INTO refs VALUES(?, ?, ?, ?) ON CONFLICT DO UPDATE SET oid = excluded.oid",
        (repo.id, ref, oid, message),
    )


def create(db: Database, repo: Repo, ref: str, oid: str, message: str | None = None) -> None:
    """Add a branch or tag; raises 409 if it exists, which is what clients' `exist_ok` looks for."""
    check_ref_name(ref.split("/", 2)[2])
    if get(db, repo, ref):
        raise HubError(409, f"Reference {ref} already exists")
    put(db, repo, ref, oid, message)


def delete(db: Database, repo: Repo, ref: str) -> None:
    """Remove a branch or tag; its commits stay readable by id."""
    if ref == BRANCH + "main":
        raise HubError(403, f"Cannot delete {ref}: every repo has it")
    if not get(db, repo, ref):
        raise revision_not_found(ref)
    db.execute("DELETE FROM refs WHERE repo_id = ? AND name = ?", (repo.id, ref))


def every(db: Database, repo: Repo) -> list[tuple[str, str]]:
    """All refs as (full name, commit id), by name."""
    return db.execute("SELECT name, oid FROM refs WHERE repo_id = ? ORDER BY name", (repo.id,)).fetchall()


def copy_all(db: Database, source: Repo, target: Repo) -> None:
    """Give a repo all branches and tags of another, not its pull requests."""
    query = "INSERT INTO refs SELECT ?, name, oid, message FROM refs WHERE repo_id = ? AND name NOT LIKE ?"
    db.execute(query, (target.id, source.id, f"{PULL_REQUEST}%"))
