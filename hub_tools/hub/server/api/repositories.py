"""Making, moving, configuring and deleting repos, and copying them whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from hub_tools.hub.server import commits, gating, objects, refs, repos
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
    sdk: Literal["gradio", "streamlit", "docker", "static"] = "static"


class _Duplication(BaseModel):
    repository: str
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
    files = {".gitattributes": GITATTRIBUTES}
    if kind == "space":
        files["README.md"] = f"---\ntitle: {name.partition('/')[2]}\nsdk: {wanted.sdk}\n---\n".encode()
    first = {
        path: Entry(blob_id(data), len(data), call.store.blobs.put(data), lfs=False)
        for path, data in files.items()
    }
    with _naming(url), call.store.db.write() as db:
        repo = repos.create(db, kind, name, private)
        oid = commits.add(db, repo, first, parent=None, author=author, title="initial commit")
        refs.put(db, repo, refs.BRANCH + "main", oid)
    return JSONResponse({"url": url, "name": name, "id": f"{repo.id:024x}"})


@contextmanager
def _naming(url: str) -> Iterator[None]:
    """Let a refusal name the repo that is there already, which clients' `exist_ok` goes on with."""
    try:
        yield
    except HubError as error:
        error.extra["url"] = url
        raise


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


def duplicate(call: Call) -> Response:
    """Make another repo with this one's whole history, branches and tags."""
    wanted = call.parse(_Duplication)
    repos.check_name(wanted.repository)
    private = None if wanted.visibility is None else wanted.visibility == "private"
    url = call.base + repos.web_path(call.kind, wanted.repository)
    with call.store.db.write() as db:
        source = call.repo(db)
        gating.require_access(db, call.viewer, source)
        call.viewer.require_write(wanted.repository.partition("/")[0], f"create a {source.kind}")
        with _naming(url):
            repo = repos.create(
                db, source.kind, wanted.repository, source.private if private is None else private
            )
        commits.copy_all(db, source, repo)
        refs.copy_all(db, source, repo)
        objects.copy_all(db, source, repo)
    return JSONResponse({"url": url})


def nameless(call: Call) -> Response:
    """Answer for what is no repo with a namespace, or nothing that this Hub can do with one."""
    name = f"{call.part('name')}/{call.part('rest').partition('/')[0]}".rstrip("/")
    with call.store.db.read() as db:
        find_repo(db, call.viewer, call.kind, name)
    return unknown(call)


REPO = "/api/{kind:kind}/{ns:part}/{name:part}"
ROUTES = [
    route("/api/repos/create", create, ["POST"]),
    route("/api/repos/delete", delete, ["DELETE"]),
    route("/api/repos/move", move, ["POST"]),
    route(REPO + "/settings", settings, ["PUT"]),
    route(REPO + "/duplicate", duplicate, ["POST"]),
]


def unknown(call: Call) -> Response:
    """Answer for everything that this Hub does not do."""
    path = call.request.scope["path"]
    raise HubError(404, f"This Hub has no such operation: {call.request.method} {path[:300]}")


_ALL = ["GET", "POST", "PUT", "PATCH", "DELETE"]
# Matches what nothing else has matched.
FALLBACK = [
    route("/api/{kind:kind}/{name:part}{rest:rest}", nameless, _ALL),
    route("/api{rest:rest}", unknown, _ALL),
]
