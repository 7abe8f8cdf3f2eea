"""Gated repos: everybody sees that they are there, and only those with access read their files."""

from __future__ import annotations

import secrets
import sqlite3
from dataclasses import dataclass

from hub_tools.hub.server.accounts import Viewer
from hub_tools.hub.server.errors import HubError
from hub_tools.hub.server.repos import Repo, now

Database = sqlite3.Connection

_COLUMNS = "id, user, status, created, reason"
STATUSES = ("pending", "accepted", "rejected")


@dataclass(frozen=True)
class AccessRequest:
    """Who asked for access to a repo, and what became of it."""

    id: str
    user: str
    status: str
    created: str
    reason: str | None


def require_access(db: Database, viewer: Viewer, repo: Repo) -> None:
    """Refuse the files of a gated repo to those who have not been let in: 401 or 403 with `GatedRepo`."""
    if not repo.gated or viewer.belongs_to(repo.namespace):
        return
    if viewer.user is None:
        message = (
            f"Access to {repo.kind} {repo.name} is restricted. You must have access to it and be logged in."
        )
        raise HubError(401, message, "GatedRepo")
    request = find(db, repo, viewer.user)
    if request is None or request.status != "accepted":
        state = {
            "pending": "Your request is waiting for its owner.",
            "rejected": "Your request was rejected.",
        }
        hint = state.get(
            request.status if request else "", f"Ask for access: POST {repo.web_path}/ask-access"
        )
        message = (
            f"Access to {repo.kind} {repo.name} is restricted and you are not in the authorized list. {hint}"
        )
        raise HubError(403, message, "GatedRepo")


def has_access(db: Database, viewer: Viewer, repo: Repo) -> bool:
    """Whether the viewer may read the files of a repo that they can see."""
    try:
        require_access(db, viewer, repo)
    except HubError:
        return False
    return True


def find(db: Database, repo: Repo, user: str) -> AccessRequest | None:
    """The request of a user, whatever became of it."""
    query = f"SELECT {_COLUMNS} FROM access_requests WHERE repo_id = ? AND user = ?"  # noqa: S608
    row = db.execute(query, (repo.id, user)).fetchone()
    return AccessRequest(*row) if row else None


def by_id(db: Database, repo: Repo, number: str) -> AccessRequest | None:
    """The request with an id."""
    query = f"SELECT {_COLUMNS} FROM access_requests WHERE repo_id = ? AND id = ?"  # noqa: S608
    row = db.execute(query, (repo.id, number)).fetchone()
    return AccessRequest(*row) if row else None


def every(db: Database, repo: Repo, status: str) -> list[AccessRequest]:
    """All requests of one status, the oldest first."""
    query = f"SELECT {_COLUMNS} FROM access_requests WHERE repo_id = ? AND status = ? ORDER BY created"  # noqa: S608
    return [AccessRequest(*row) for row in db.execute(query, (repo.id, status))]


def ask(db: Database, repo: Repo, user: str) -> str:
    """Ask for access, once; returns what became of it, "accepted" at once where the gate is automatic."""
    if (present := find(db, repo, user)) is not None:
        return present.status
    status = "accepted" if repo.gated == "auto" else "pending"
    add(db, repo, user, status)
    return status


def add(db: Database, repo: Repo, user: str, status: str) -> None:
    """Write down a user's first request; raises 400 if there is one."""
    if find(db, repo, user) is not None:
        raise HubError(400, f"{user} has a request for {repo.name} already")
    values = (secrets.token_hex(12), repo.id, user, status, now())
    db.execute("INSERT INTO access_requests VALUES(?, ?, ?, ?, ?, NULL)", values)


def settle(db: Database, request: AccessRequest, status: str, reason: str | None) -> None:
    """Accept, reject or reopen a request; raises 400 if nothing would change."""
    if request.status == status:
        raise HubError(400, f"The request of {request.user} is {status} already")
    query = "UPDATE access_requests SET status = ?, reason = ? WHERE id = ?"
    db.execute(query, (status, reason, request.id))
