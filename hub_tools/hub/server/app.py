"""The web application: all routes, and an answer in JSON whatever goes wrong."""

from __future__ import annotations

import errno
import logging
import os
import re
import secrets
import sqlite3

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hub_tools.hub.server.api import (
    access,
    account,
    attachments,
    collection,
    discussions,
    evaluations,
    files,
    large_files,
    lfs,
    listing,
    repositories,
    revisions,
    upload,
    users,
    xet,
)
from hub_tools.hub.server.errors import HubError
from hub_tools.hub.server.http import explain, refusal
from hub_tools.hub.server.pages import routes as pages
from hub_tools.hub.server.pages.refused import is_read_by_a_person, refused
from hub_tools.hub.server.store import Store

_REPOS = (account, users, collection, repositories, access, listing, revisions, discussions, evaluations)
_FILES = (upload, lfs, large_files, xet, attachments, files)
_ROUTES = (
    [route for topic in (*_REPOS, *_FILES) for route in topic.ROUTES]
    + repositories.FALLBACK
    + pages.ROUTES
    + files.FALLBACK
)
_LOG = logging.getLogger("uvicorn.error")


class _Entrance:
    """Routes by the path as it was sent, so that a quoted slash stays inside; gives each answer an id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            raw = scope["raw_path"].decode("latin-1")
            scope = {**scope, "path": raw.rstrip("/") or "/", "root_path": ""}
        request_id = _request_id(Headers(scope=scope)) if "headers" in scope else b""

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"x-request-id", request_id)]}
            await send(message)

        await self._app(scope, receive, sent)


def _request_id(headers: Headers) -> bytes:
    """The id that the client sent, else one of our own with the client's trace behind it."""
    chosen, trace = (_sound(headers.get(name, "")) for name in ("x-request-id", "x-amzn-trace-id"))
    return (chosen or f"{secrets.token_hex(12)};{trace}".rstrip(";")).encode()


def _sound(client_id: str) -> str:
    return client_id if re.fullmatch(r"[A-Za-z0-9_.:=;-]{1,200}", client_id) else ""


def create_app(store: Store, address: str) -> ASGIApp:
    """The application for one store; `address` is host:port, for links when a client names no host."""
    app = Starlette(
        routes=_ROUTES,
        exception_handlers={
            HubError: _refuse,
            ValidationError: _refuse,
            HTTPException: _refuse,
            ClientDisconnect: _refuse,
            OSError: _storage_failed,
            sqlite3.Error: _storage_failed,
            Exception: _failed,
        },
    )
    app.state.store, app.state.address, app.state.pid = store, address, os.getpid()
    app.router.redirect_slashes = False
    return _Entrance(app)


def _refuse(request: Request, error: Exception) -> Response:
    if isinstance(error, ValidationError):
        return refusal(explain(error))
    if isinstance(error, HTTPException):
        message = f"{error.detail}: {request.method} {request.url.path}"
        return _answer(request, HubError(error.status_code, message))
    if isinstance(error, HubError):
        return _answer(request, error)
    return refusal(HubError(400, "The request ended before its body did"))


def _answer(request: Request, error: HubError) -> Response:
    """A refusal as those who asked can read it."""
    if error.status >= 400 and is_read_by_a_person(request):
        return refused(request, error)
    return refusal(error)


def _storage_failed(request: Request, error: Exception) -> Response:
    if isinstance(error, FileNotFoundError):
        _LOG.error("lost from the store: %s", error.filename)
        return refusal(HubError(410, "The content is missing from this Hub's store; see: backforth hub fsck"))
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "is full" in str(
        error
    )
    if not full:
        return _failed(request, error)
    _LOG.error("no space left in the store: %s", error)
    return _answer(request, HubError(507, "The disk that holds this Hub's store is full"))


def _failed(request: Request, _error: Exception) -> Response:
    # The web server logs the error itself, with its traceback.
    return _answer(request, HubError(500, "The Hub failed at this request; its log says why"))
