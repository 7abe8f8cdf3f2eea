"""Making, moving, configuring and deleting repos, and asking for access to them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from hub_tools.hub.server import commits, refs, repos
from hub_tools.hub.server.api.upload import GITATTRIBUTES
from hub_tools.hub.server.errors import HubError
from hub_tools.hub.server.http import Call, find_repo, route
from hub_tools.hub.server.trees import Entry, blob_id

Kind = Literal["model", "dataset", "space"]


class _Target(BaseModel):
    name: str
    organization: str | None = None
    type: Kind | None = None

    def full_name(self, user: str) -> str:
        return self.name if "/" in self.name else f"{self.organization or user}/{self.name}"


class _Creation(_Target):
    private: bool | None = None
    visibility: Literal["public", "private", "protected"] | None = None


class _Move(BaseModel):
    fromRepo: str  # noqa: N815 - the wire's name
    toRepo: str  # noqa: N815 - the wire's name
    type: Kind | None = None


class _Settings(BaseModel):
    private: bool | None = None
    visibility: Literal["public", "private", "protected"] | None = None
    gated: Literal["auto", "manual", False] | None = None


def create(call: Call) -> Response:
    """Make a repo with its first commit."""
    wanted = call.parse(_Creation)
    user = call.viewer.require_user()
    kind, name = wanted.type or "model", wanted.full_name(user)
    repos.check_name(name)
    author = call.viewer.require_write(name.partition("/")[0], f"create a {kind}")
    private = bool(wanted.private) if wanted.visibility is None else wanted.visibility == "private"
    url = call.base + repos.web_path(kind, name)
    first = Entry(blob_id(GITATTRIBUTES), len(GITATTRIBUTES), call.store.blobs.put(GITATTRIBUTES), lfs=False)
    try:
        with call.store.db.write() as db:
            repo = repos.create(db, kind, name, private)
            oid = commits.add(
                db, repo, {".gitattributes": first}, parent=None, author=author, title="initial commit"
            )
            refs.put(db, repo, refs.BRANCH + "main", oid)
    except HubError as error:
        error.extra["url"] = url
        raise
    return JSONResponse({"url": url, "name": name, "id": f"{repo.id:024x}"})


def delete(call: Call) -> Response:
    """Delete a repo for good."""
    wanted = call.parse(_Target)
    name = wanted.full_name(call.viewer.require_user())
    with call.store.db.write() as db:
        repos.delete(db, find_repo(db, call.viewer, wanted.type or "model", name, "write"))
    return JSONResponse({})


def move(call: Call) -> Response:
    """Rename a repo; its old name goes on to work."""
    wanted = call.parse(_Move)
    with call.store.db.write() as db:
        repo = find_repo(db, call.viewer, wanted.type or "model", wanted.fromRepo, "write")
        repos.check_name(wanted.toRepo)
        call.viewer.require_write(wanted.toRepo.partition("/")[0], f"move a {repo.kind}")
        repos.move(db, repo, wanted.toRepo)
    return JSONResponse({"url": call.base + repos.web_path(repo.kind, wanted.toRepo)})


def settings(call: Call) -> Response:
    """Change visibility or gating."""
    wanted = call.parse(_Settings)
    private = wanted.private if wanted.visibility is None else wanted.visibility == "private"
    gated = None if wanted.gated is None else (wanted.gated or "")
    with call.store.db.write() as db:
        repo = call.repo(db, "write")
        repos.configure(db, repo, private, gated)
    return JSONResponse({"private": private, "gated": wanted.gated})


def auth_check(call: Call) -> Response:
    """Answer whether the viewer may read the repo."""
    with call.store.db.read() as db:
        call.repo(db)
    return JSONResponse({})


def auth_check_write(call: Call) -> Response:
    """Answer whether the viewer may write to the repo."""
    with call.store.db.read() as db:
        call.repo(db, "write")
    return JSONResponse({})


def nameless(call: Call) -> Response:
    """Answer for names without a namespace, which this Hub has none of."""
    with call.store.db.read() as db:
        find_repo(db, call.viewer, call.kind, call.part("name"))
    return JSONResponse({})


REPO = "/api/{kind:kind}/{ns:part}/{name:part}"
ROUTES = [
    route("/api/repos/create", create, ["POST"]),
    route("/api/repos/delete", delete, ["DELETE"]),
    route("/api/repos/move", move, ["POST"]),
    route(REPO + "/settings", settings, ["PUT"]),
    route(REPO + "/auth-check", auth_check),
    route(REPO + "/auth-check/write", auth_check_write),
    route("/api/{kind:kind}/{name:part}", nameless),
]
