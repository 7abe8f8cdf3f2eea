"""Large files by the LFS protocol: a batch request, then one PUT to a signed address for each object."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hub_tools.hub.server import gating, objects
from hub_tools.hub.server.api.files import BlobResponse
from hub_tools.hub.server.errors import HubError, bad_request, too_large
from hub_tools.hub.server.http import Call, receive, route, store_of
from hub_tools.hub.server.repos import Repo
from hub_tools.hub.server.trees import MAX_SIZE

MAX_FILE_BYTES = 50 * 10**9
TICKET_SECONDS = 6 * 3600


class _Object(BaseModel):
    oid: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0, le=MAX_SIZE)


class _Batch(BaseModel):
    operation: Literal["upload", "download"]
    objects: list[_Object]
    transfers: list[str] = ["basic"]
    hash_algo: str = "sha256"


def batch(call: Call) -> Response:
    """Answer for a model's objects where each may be sent or fetched."""
    return _batch(call, "model")


def batch_dataset(call: Call) -> Response:
    """The same for a dataset."""
    return _batch(call, "dataset")


def batch_space(call: Call) -> Response:
    """The same for a space."""
    return _batch(call, "space")


def _batch(call: Call, kind: str) -> Response:
    wanted = call.parse(_Batch)
    with call.store.db.read() as db:
        # Uploading alone changes nothing: the commit that names the object asks for more.
        repo = call.repo(db, "propose" if wanted.operation == "upload" else "read", kind)
        if wanted.operation == "download":
            gating.require_access(db, call.viewer, repo)
        held = {item.oid for item in wanted.objects if objects.holds(db, repo, item.oid)}
    answer = {
        "transfer": "basic",
        "hash_algo": "sha256",
        "objects": [_object(call, repo, item, wanted.operation, item.oid in held) for item in wanted.objects],
    }
    return JSONResponse(answer, media_type="application/vnd.git-lfs+json")


def _object(call: Call, repo: Repo, item: _Object, operation: str, held: bool) -> dict[str, Any]:
    answer: dict[str, Any] = {"oid": item.oid, "size": item.size, "authenticated": True}
    here = held and call.store.blobs.has(item.oid)
    if operation == "download" and not here:
        return answer | {"error": {"code": 404, "message": "Object does not exist"}}
    if operation == "upload" and item.size > MAX_FILE_BYTES:
        return answer | {"error": {"code": 413, "message": str(too_large("The file", MAX_FILE_BYTES))}}
    if operation == "upload" and here:
        return answer
    ticket = call.store.signer.ticket(f"{operation}:{item.oid}:{item.size}:{repo.id}", TICKET_SECONDS)
    action = {
        "href": f"{call.base}/_lfs/{item.oid}?ticket={ticket}",
        "header": {},
        "expires_in": TICKET_SECONDS,
    }
    return answer | {"actions": {operation: action}}


class _Ticket(NamedTuple):
    """What an address was signed for."""

    oid: str
    size: int
    repo_id: int


def _check_ticket(request: Request, operation: str) -> _Ticket:
    """What the address was signed for; raises 401 or 403."""
    oid = request.path_params["oid"]
    scope = store_of(request).signer.scope(request.query_params.get("ticket", ""))
    allowed, *rest = scope.split(":")
    if allowed != operation or rest[:1] != [oid]:
        raise HubError(403, f"This address was not signed for the {operation} of {oid}")
    return _Ticket(oid, int(rest[1]), int(rest[2]))


async def upload(request: Request) -> Response:
    """Receive one object, at most as long as announced, and keep it if its sha256 is right."""
    ticket, store = _check_ticket(request, "upload"), store_of(request)
    with store.blobs.receive(ticket.size) as incoming:
        await receive(request, incoming, ticket.size, "The object")
        if incoming.size != ticket.size:
            raise bad_request(f"{ticket.size} bytes were announced, but {incoming.size} came")
        await run_in_threadpool(store.blobs.keep, incoming, ticket.oid)
    await run_in_threadpool(store.hold, ticket.repo_id, [ticket.oid])
    return Response()


async def download(request: Request) -> Response:
    """Send one object."""
    ticket = _check_ticket(request, "download")
    return BlobResponse(store_of(request).blobs.path(ticket.oid), media_type="application/octet-stream")


ROUTES = [
    *[
        route(f"{prefix}/{{ns:part}}/{{name:part}}.git/info/lfs/objects/batch", handler, ["POST"])
        for prefix, handler in (("/datasets", batch_dataset), ("/spaces", batch_space), ("", batch))
    ],
    Route("/_lfs/{oid:part}", upload, methods=["PUT"]),
    Route("/_lfs/{oid:part}", download, methods=["GET"]),
]
