"""The upload side of Xet: a token for the client, then xorbs and shards to the storage address."""

from __future__ import annotations

import re
import time

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hub_tools.hub.server.api.lfs import MAX_FILE_BYTES
from hub_tools.hub.server.errors import HubError, bad_request
from hub_tools.hub.server.http import Call, limited, receive, route, store_of
from hub_tools.hub.server.xet import shard

MAX_XORB_BYTES = 128 << 20
MAX_SHARD_BYTES = 128 << 20
TOKEN_SECONDS = 3600
_SCOPE = "xet:write:"


def write_token(call: Call) -> Response:
    """Give a writer of the repo the address of the storage and a short-lived token for it."""
    with call.store.db.read() as db:
        repo = call.repo(db, "propose")
    expires = int(time.time()) + TOKEN_SECONDS
    token = call.store.signer.ticket(f"{_SCOPE}{repo.id}", TOKEN_SECONDS)
    # Clients remember by address what a storage holds, so the address must never be that of another store.
    address = f"{call.base}/_cas/{call.store.xet_id}"
    headers = {
        "X-Xet-Cas-Url": address,
        "X-Xet-Access-Token": token,
        "X-Xet-Token-Expiration": str(expires),
    }
    return JSONResponse({"accessToken": token, "exp": expires, "casUrl": address}, headers=headers)


def _check_token(request: Request) -> int:
    """The number of the repo that the token lets upload to; raises 401, 403 or 404."""
    store = store_of(request)
    if request.path_params["store"] != store.xet_id:
        raise HubError(404, "This storage belongs to another store")
    token = request.headers.get("authorization", "").removeprefix("Bearer ")
    scope = store.signer.scope(token)
    if not scope.startswith(_SCOPE):
        raise HubError(403, "This token is not meant for uploads")
    return int(scope.removeprefix(_SCOPE))


async def upload_xorb(request: Request) -> Response:
    """Store a xorb under its hash, as it is."""
    _check_token(request)
    name = request.path_params["hash"]
    if not re.fullmatch(r"[0-9a-f]{64}", name):
        raise bad_request("A xorb is named by 64 hexadecimal digits")
    blobs = store_of(request).blobs
    path = blobs.xorb_path(name)
    with blobs.receive(MAX_XORB_BYTES) as incoming:
        await receive(request, incoming, MAX_XORB_BYTES, "The xorb")
        is_new = not path.is_file()
        if is_new:
            await run_in_threadpool(incoming.keep, path)
    return JSONResponse({"was_inserted": is_new})


async def upload_shard(request: Request) -> Response:
    """Turn the files that a shard describes into whole files, which a commit can then name."""
    repo_id, store = _check_token(request), store_of(request)
    body = b"".join([piece async for piece in limited(request, MAX_SHARD_BYTES, "The shard")])
    hashes = await run_in_threadpool(shard.ingest, store.blobs, body, MAX_FILE_BYTES)
    await run_in_threadpool(store.hold, repo_id, hashes)
    return JSONResponse({"result": int(bool(hashes))})


ROUTES = [
    route("/api/{kind:kind}/{ns:part}/{name:part}/xet-write-token{rev:rest}", write_token),
    Route("/_cas/{store:part}/v1/xorbs/default/{hash:part}", upload_xorb, methods=["POST"]),
    Route("/_cas/{store:part}/v1/shards", upload_shard, methods=["POST"]),
]
