"""Large files over a repo's whole history: list, erase, share with another repo."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from hub_tools.hub.server import gating, large_files, objects
from hub_tools.hub.server.api.repositories import REPO, Kind
from hub_tools.hub.server.http import Call, find_repo, route

PAGE_OF_FILES = 1000
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Deletions(BaseModel):
    sha: list[Sha256]
    rewriteHistory: bool = True  # noqa: N815 - the wire's name


class _Batch(BaseModel):
    deletions: _Deletions


class _Target(BaseModel):
    type: Kind
    name: str


class _Shared(BaseModel):
    sha256: Sha256


class _Duplication(BaseModel):
    target: _Target
    files: list[_Shared]


def list_files(call: Call) -> Response:
    """Every object that any commit names."""
    with call.store.db.read() as db:
        found = large_files.every(db, call.repo(db, "write"))
    return call.page_of(
        found,
        PAGE_OF_FILES,
        lambda one: {
            "fileOid": one.sha256,
            "oid": one.sha256,
            "filename": one.path,
            "size": one.size,
            "pushedAt": one.pushed,
            "ref": one.ref,
        },
    )


def erase(call: Call) -> Response:
    """Erase objects, and the files that name them from the history unless that is to stay as it is.

    Their bytes go with the next garbage collection.
    """
    wanted = call.parse(_Batch).deletions
    with call.store.db.write() as db:
        repo = call.repo(db, "write")
        objects.remove(db, repo, wanted.sha)
        if wanted.rewriteHistory:
            large_files.rewrite(db, repo, set(wanted.sha))
    return JSONResponse({})


def duplicate(call: Call) -> Response:
    """Let another repo use this one's objects, which it need not upload then."""
    wanted = call.parse(_Duplication)
    asked = [file.sha256 for file in wanted.files]
    with call.store.db.write() as db:
        repo = call.repo(db)
        gating.require_access(db, call.viewer, repo)
        target = find_repo(db, call.viewer, wanted.target.type, wanted.target.name, "propose")
        here = [sha for sha in asked if objects.holds(db, repo, sha)]
        objects.add(db, target.id, here)
    failed = [{"sha256": sha, "error": f"{repo.name} has no such file"} for sha in asked if sha not in here]
    return JSONResponse({"success": [{"sha256": sha} for sha in here], "failed": failed})


ROUTES = [
    route(REPO + "/lfs-files", list_files),
    route(REPO + "/lfs-files/batch", erase, ["POST"]),
    route(REPO + "/lfs-files/duplicate", duplicate, ["POST"]),
]
