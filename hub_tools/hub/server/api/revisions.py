"""Refs, tags, branches, history and squashing."""

from __future__ import annotations

from html import escape
from typing import Any

from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from hub_tools.hub.server import commits, refs
from hub_tools.hub.server.api.repositories import REPO
from hub_tools.hub.server.commits import Commit
from hub_tools.hub.server.http import Call, route

PAGE_OF_COMMITS = 1000


class _Tag(BaseModel):
    tag: str
    message: str | None = None


class _Branch(BaseModel):
    startingPoint: str = "main"  # noqa: N815 - the wire's name


class _Squash(BaseModel):
    message: str | None = None


def list_refs(call: Call) -> Response:
    """All branches, tags and pull requests."""
    with call.store.db.read() as db:
        every = refs.every(db, call.repo(db))

    def under(prefix: str) -> list[dict[str, str]]:
        found = [(ref, oid) for ref, oid in every if ref.startswith(prefix)]
        return [{"name": ref.removeprefix(prefix), "ref": ref, "targetCommit": oid} for ref, oid in found]

    answer = {"branches": under(refs.BRANCH), "tags": under(refs.TAG), "converts": []}
    return JSONResponse(answer | {"pullRequests": under(refs.PULL_REQUEST)})


def history(call: Call) -> Response:
    """The commits that led to a revision, the newest first."""
    offset, limit = call.window(PAGE_OF_COMMITS)
    with call.store.db.read() as db:
        repo = call.repo(db)
        found = commits.history(db, repo, refs.resolve(db, repo, call.part("rev")), offset, limit + 1)
    formatted = "formatted" in call.listed("expand")
    items = [_commit_json(commit, formatted) for commit in found[:limit]]
    return call.page(items, offset, more=len(found) > limit)


def _commit_json(commit: Commit, formatted: bool) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "id": commit.oid,
        "title": commit.title,
        "message": commit.message,
        "authors": [{"user": commit.author}],
        "date": commit.date,
    }
    if formatted:
        answer["formatted"] = {"title": escape(commit.title), "message": escape(commit.message)}
    return answer


def create_tag(call: Call) -> Response:
    """Tag a revision; 409 if the tag exists."""
    wanted = call.parse(_Tag)
    with call.store.db.write() as db:
        repo = call.repo(db, "write")
        oid = refs.resolve(db, repo, call.part("rev"))
        refs.create(db, repo, refs.TAG + wanted.tag, oid, wanted.message)
    return JSONResponse({})


def delete_tag(call: Call) -> Response:
    """Remove a tag."""
    with call.store.db.write() as db:
        refs.delete(db, call.repo(db, "write"), refs.TAG + call.part("rev"))
    return JSONResponse({})


def create_branch(call: Call) -> Response:
    """Start a branch at a revision; 409 if it exists."""
    start = call.parse(_Branch).startingPoint
    with call.store.db.write() as db:
        repo = call.repo(db, "write")
        refs.create(db, repo, refs.BRANCH + call.part("rev"), refs.resolve(db, repo, start))
    return JSONResponse({})


def delete_branch(call: Call) -> Response:
    """Remove a branch other than main."""
    with call.store.db.write() as db:
        refs.delete(db, call.repo(db, "write"), refs.BRANCH + call.part("rev"))
    return JSONResponse({})


def squash(call: Call) -> Response:
    """Replace a branch's history by one commit."""
    message = call.parse(_Squash).message or f"Super-squash branch '{call.part('rev')}'"
    with call.store.db.write() as db:
        repo = call.repo(db, "write")
        commits.squash(db, repo, call.part("rev"), message, call.viewer.require_user())
    return JSONResponse({})


ROUTES = [
    route(REPO + "/refs", list_refs),
    route(REPO + "/commits/{rev:part}", history),
    route(REPO + "/tag/{rev:part}", create_tag, ["POST"]),
    route(REPO + "/tag/{rev:part}", delete_tag, ["DELETE"]),
    route(REPO + "/branch/{rev:part}", create_branch, ["POST"]),
    route(REPO + "/branch/{rev:part}", delete_branch, ["DELETE"]),
    route(REPO + "/super-squash/{rev:part}", squash, ["POST"]),
]
