"""File contents: whole, in ranges, or only their headers."""

from __future__ import annotations

import mimetypes
import os
import re

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.types import Receive, Scope, Send

from hub_tools.hub.server import commits, gating, model_files, objects, refs
from hub_tools.hub.server.errors import HubError, entry_not_found
from hub_tools.hub.server.http import Call, repo_not_found, route
from hub_tools.hub.server.trees import Entry

# What a browser may show in place; everything else it saves or shows as text, never as a page of ours.
_SHOWN = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml"})


# Up to here a file goes out in one piece, read where its headers are made.
_SMALL_BYTES = 256 << 10
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class BlobResponse(FileResponse):
    """A stored file, whole or the one range asked for, in pieces large enough for the disk's pace."""

    chunk_size = 1 << 20

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file; a `Range` that makes no sense is ignored, as HTTP wants it."""
        size = (await run_in_threadpool(os.stat, self.path)).st_size
        if not _is_satisfiable(Headers(scope=scope).get("range"), size):
            kept = [(name, value) for name, value in scope["headers"] if name != b"range"]
            scope = {**scope, "headers": kept}
        await super().__call__(scope, receive, send)


def _is_satisfiable(header: str | None, size: int) -> bool:
    """Whether one range is asked for that the file has; raises 416 if it starts behind the file's end."""
    found = _RANGE.fullmatch(header or "")
    if found is None or found.groups() == ("", ""):
        return False
    start, end = found.groups()
    if (start and int(start) >= size) or (not start and 0 in (int(end), size)):
        message = f"The file has {size} bytes, so it has no {header}"
        raise HubError(416, message, headers={"Content-Range": f"bytes */{size}"})
    return not (start and end and int(start) > int(end))


def resolve(call: Call) -> Response:
    """A file at a revision, with the headers by which clients cache it."""
    return _file(call, "model")


def resolve_dataset(call: Call) -> Response:
    """The same for a dataset's file."""
    return _file(call, "dataset")


def resolve_space(call: Call) -> Response:
    """The same for a space's file."""
    return _file(call, "space")


def _file(call: Call, kind: str) -> Response:
    path, revision = call.part("path"), call.part("rev")
    with call.store.db.read() as db:
        repo = call.repo(db, kind=kind)
        gating.require_access(db, call.viewer, repo)
        oid = refs.resolve(db, repo, revision)
        entry = commits.tree(db, repo, oid).get(path)
        if entry is None:
            raise entry_not_found(path, revision, oid)
        objects.require(db, repo, path, entry)
    headers = _headers(entry, oid)
    if headers["ETag"] in call.request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    media_type = _media_type(path, entry)
    if entry.size <= _SMALL_BYTES and "range" not in call.request.headers:
        return Response(call.store.blobs.get(entry.sha256), headers=headers, media_type=media_type)
    stored = call.store.blobs.path(entry.sha256)
    return BlobResponse(stored, headers=headers, media_type=media_type)


def nameless(call: Call) -> Response:
    """Answer for a repo without a namespace, which this Hub has none of."""
    raise repo_not_found(call.viewer)


def _headers(entry: Entry, commit: str) -> dict[str, str]:
    return {
        "X-Repo-Commit": commit,
        "ETag": f'"{entry.etag}"',
        "X-Linked-Etag": f'"{entry.etag}"',
        "X-Linked-Size": str(entry.size),
        "Accept-Ranges": "bytes",
        "Cache-Control": "no-cache",
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
        "X-Content-Type-Options": "nosniff",
    }


def _media_type(path: str, entry: Entry) -> str:
    guessed = mimetypes.guess_type(path)[0]
    if guessed in _SHOWN:
        return guessed
    return "application/octet-stream" if entry.lfs else "text/plain; charset=utf-8"


def weights(call: Call) -> Response:
    """The tensors of a sharded model, by one request instead of one for each shard."""
    with call.store.db.read() as db:
        repo = call.repo(db)
        gating.require_access(db, call.viewer, repo)
        tree = objects.readable(db, repo, commits.tree(db, repo, refs.resolve(db, repo, "main")))
    return JSONResponse(model_files.sharded(call.store.blobs, tree, call.part("path")))


ROUTES = [
    route("/api/{kind:kind}/{ns:part}/{name:part}/safetensors-metadata{path:rest}", weights),
    *[
        route(f"{prefix}/{{ns:part}}/{{name:part}}/{verb}/{{rev:part}}{{path:rest}}", handler)
        for prefix, handler in (("/datasets", resolve_dataset), ("/spaces", resolve_space), ("", resolve))
        for verb in ("resolve", "raw")
    ],
]
FALLBACK = [route("/{name:part}/resolve/{rev:part}{path:rest}", nameless)]
