"""The web application: which route is whose, who may ask, and what an error looks like."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from pydantic import TypeAdapter
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.requests import Request as WebRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hub_tools.endpoints.server.access import carries
from hub_tools.endpoints.server.bodies import read_body
from hub_tools.endpoints.server.errors import (
    ClientGoneError,
    IncompleteError,
    RequestError,
    UnauthorizedError,
)
from hub_tools.endpoints.server.events import gone
from hub_tools.endpoints.server.openai_schema import ChatBody, CompletionBody, VertexBody
from hub_tools.endpoints.server.openapi import openapi
from hub_tools.endpoints.server.routes import AnyBody, Routes
from hub_tools.endpoints.server.schema import GenerateBody
from hub_tools.endpoints.server.service import Service

logger = logging.getLogger(__name__)

Body = TypeVar("Body")
Handler = Callable[[WebRequest], Awaitable[Response]]


def create_app(service: Service) -> Starlette:
    """The web application around a service."""
    token, routes = service.options.token, Routes(service)
    got = {
        "/": routes.health,
        "/info": routes.info,
        "/metrics": routes.metrics,
        "/v1/models": routes.models,
    }
    posted: dict[str, tuple[Any, Any]] = {
        "/": (GenerateBody, routes.compat),
        "/generate": (GenerateBody, routes.generate),
        "/generate_stream": (GenerateBody, routes.generate_stream),
        "/v1/chat/completions": (ChatBody, routes.chat),
        "/v1/completions": (CompletionBody, routes.completions),
        "/invocations": (AnyBody, routes.invocations),
        "/vertex": (VertexBody, routes.vertex),
        "/tokenize": (GenerateBody, routes.tokenize),
        "/chat_tokenize": (ChatBody, routes.chat_tokenize),
    }
    shapes = {path: TypeAdapter(shape) for path, (shape, _) in posted.items()}

    async def document() -> Response:
        return JSONResponse(openapi(shapes, ["/health", "/ping", *got]))

    return Starlette(
        routes=[
            _got("/health", routes.health, None),
            _got("/ping", routes.health, None),
            _got("/api-doc/openapi.json", document, None),
            *(_got(path, answer, token) for path, answer in got.items()),
            *(_posted(path, shapes[path], answer, token) for path, (_, answer) in posted.items()),
        ],
        exception_handlers={HTTPException: _not_a_route},
        middleware=_for_browsers(service.options.cors_allow_origins),
    )


def _for_browsers(origins: Sequence[str]) -> list[Middleware]:
    if not origins:  # unlike TGI: any page that is open in a browser could ask a server on the same machine
        return []
    headers = ["authorization", "content-type"]
    return [
        Middleware(
            CORSMiddleware, allow_origins=origins, allow_methods=["GET", "POST"], allow_headers=headers
        )
    ]


def _got(path: str, answer: Callable[[], Awaitable[Response]], token: str | None) -> Route:
    async def handler(request: WebRequest) -> Response:
        return await answer()

    return Route(path, _guarded(handler, token), methods=["GET"])


def _posted(
    path: str,
    adapter: TypeAdapter[Body],
    answer: Callable[[Body], Coroutine[Any, Any, Response]],
    token: str | None,
) -> Route:
    async def handler(request: WebRequest) -> Response:
        return await _while_here(request, answer(await read_body(request, adapter)))

    return Route(path, _guarded(handler, token), methods=["POST"])


async def _while_here(request: WebRequest, work: Coroutine[Any, Any, Response]) -> Response:
    """The work's response; a client that goes away meanwhile ends the work."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(gone(request.receive))
    try:
        await asyncio.wait([working, leaving], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGoneError
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


def _guarded(handler: Handler, token: str | None) -> Handler:
    async def guarded(request: WebRequest) -> Response:
        try:
            if token and not carries(request.headers.get("authorization"), token):
                raise UnauthorizedError
            return await handler(request)
        except ClientDisconnect:
            return _refusal(ClientGoneError())
        except RequestError as error:
            return _refusal(error)
        except Exception:
            logger.exception("request failed")
            return _refusal(IncompleteError())

    return guarded


def _refusal(error: RequestError) -> Response:
    return JSONResponse({"error": str(error), "error_type": error.error_type}, error.status)


async def _not_a_route(request: WebRequest, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    body = {"error": str(error.detail), "error_type": "not_found"}
    return JSONResponse(body, error.status_code, error.headers)
