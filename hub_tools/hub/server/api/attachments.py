"""Attachments of comments: one request to send a file, one address to show it."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from hub_tools.hub.server import attachments
from hub_tools.hub.server.api.files import BlobResponse
from hub_tools.hub.server.blobs import Incoming
from hub_tools.hub.server.errors import HubError
from hub_tools.hub.server.http import Call, base_url, receive, route, store_of, viewer_of

MAX_BYTES, MAX_VIDEO_BYTES = 10 << 20, 50 << 20


async def upload(request: Request) -> Response:
    """Keep a file for comments and answer with its address."""
    user = viewer_of(request).require_writer("upload attachments")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in attachments.SUFFIXES:
        allowed = ", ".join(attachments.SUFFIXES)
        raise HubError(415, f"An attachment cannot be {media_type[:100] or 'without a type'}; use {allowed}")
    limit = MAX_VIDEO_BYTES if media_type.startswith("video/") else MAX_BYTES
    with store_of(request).blobs.receive(limit) as incoming:
        await receive(request, incoming, limit, "The attachment")
        await run_in_threadpool(store_of(request).blobs.keep, incoming)
    path = await run_in_threadpool(_name, request, incoming, media_type, user)
    return PlainTextResponse(base_url(request) + path)


def _name(request: Request, incoming: Incoming, media_type: str, user: str) -> str:
    with store_of(request).db.write() as db:
        return attachments.add(db, incoming.sha256, incoming.size, media_type, user)


def show(call: Call) -> Response:
    """Send an attachment to whoever has its address."""
    with call.store.db.read() as db:
        found = attachments.find(db, call.part("name"))
    if found is None:
        raise HubError(404, "This Hub has no such attachment")
    sha256, media_type = found
    headers = {
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, max-age=31536000, immutable",
    }
    return BlobResponse(call.store.blobs.path(sha256), headers=headers, media_type=media_type)


ROUTES = [
    Route("/uploads", upload, methods=["POST"]),
    route("/uploads/{name:part}", show),
]
