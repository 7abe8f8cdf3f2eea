"""TGI's routes."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from pydantic import BaseModel
from pydantic import ValidationError as SchemaError
from starlette.applications import Starlette
from starlette.requests import Request as WebRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hub_tools.endpoints.server import answers
from hub_tools.endpoints.server.access import carries
from hub_tools.endpoints.server.errors import (
    BodyError,
    RequestError,
    UnauthorizedError,
    UnhealthyError,
    ValidationError,
)
from hub_tools.endpoints.server.prompts import text_tokens
from hub_tools.endpoints.server.schema import ChatBody, GenerateBody
from hub_tools.endpoints.server.service import Service

logger = logging.getLogger(__name__)

LARGEST_BODY = 2_000_000  # bytes; TGI's own default

Body = TypeVar("Body", bound=BaseModel)
Handler = Callable[[WebRequest], Awaitable[Response]]


def create_app(service: Service) -> Starlette:
    """The web application around a service."""
    routes = Routes(service)
    open_routes = [("/health", routes.health), ("/ping", routes.health)]
    get = [("/", routes.health), ("/info", routes.info), ("/v1/models", routes.models)]
    post = [
        ("/", routes.compat),
        ("/generate", routes.generate),
        ("/v1/chat/completions", routes.chat),
        ("/tokenize", routes.tokenize),
    ]
    return Starlette(
        routes=[
            *(Route(path, _guarded(handler, None), methods=["GET"]) for path, handler in open_routes),
            *(
                Route(path, _guarded(handler, service.options.token), methods=["GET"])
                for path, handler in get
            ),
            *(
                Route(path, _guarded(handler, service.options.token), methods=["POST"])
                for path, handler in post
            ),
        ]
    )


class Routes:
    """One method a route."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def health(self, request: WebRequest) -> Response:
        """200 as long as the model thread runs."""
        if not self._service.batcher.alive:
            raise UnhealthyError
        return Response()

    async def info(self, request: WebRequest) -> Response:
        """The model, its adapters and the limits."""
        return JSONResponse(self._service.info())

    async def models(self, request: WebRequest) -> Response:
        """Names that a chat's `model` may have."""
        model = self._service.model
        return JSONResponse(answers.models_answer([model.source.name, *model.adapters]))

    async def generate(self, request: WebRequest) -> Response:
        """`POST /generate`: one object."""
        answer, headers = await self._generated(request, await _body(request, GenerateBody))
        return JSONResponse(answer, headers=headers)

    async def compat(self, request: WebRequest) -> Response:
        """`POST /`: the same in a list."""
        body = await _body(request, GenerateBody)
        if body.stream:
            raise ValidationError("`stream` is not supported by this endpoint")
        answer, headers = await self._generated(request, body)
        return JSONResponse([answer], headers=headers)

    async def chat(self, request: WebRequest) -> Response:
        """`POST /v1/chat/completions`."""
        body = await _body(request, ChatBody)
        job, generated = await self._service.answer(lambda v: v.chat(body), _leaving(request))
        name = job.adapter or self._service.model.source.name
        answer = answers.chat_answer(name, self._service.version, job, generated)
        return JSONResponse(answer, headers=answers.headers(job, generated, self._device))

    async def tokenize(self, request: WebRequest) -> Response:
        """`POST /tokenize`: the tokens of `inputs`."""
        body = await _body(request, GenerateBody)
        return JSONResponse(await self._service.validate(lambda v: text_tokens(v.tokenizer, body.inputs)))

    async def _generated(
        self, request: WebRequest, body: GenerateBody
    ) -> tuple[dict[str, Any], dict[str, str]]:
        job, generated = await self._service.answer(lambda v: v.generate(body), _leaving(request))
        wanted = body.parameters
        full = bool(wanted.return_full_text)
        details = wanted.details or wanted.decoder_input_details
        answer = answers.generate_answer(body.inputs, job, generated, full=full, details=details)
        return answer, answers.headers(job, generated, self._device)

    @property
    def _device(self) -> str:
        return self._service.model.device.type


def _guarded(handler: Handler, token: str | None) -> Handler:
    async def guarded(request: WebRequest) -> Response:
        try:
            if token and not carries(request.headers.get("authorization"), token):
                raise UnauthorizedError
            return await handler(request)
        except RequestError as error:
            return JSONResponse({"error": str(error), "error_type": error.error_type}, error.status)
        except Exception:
            logger.exception("request failed")
            body = {"error": "internal error", "error_type": "incomplete_generation"}
            return JSONResponse(body, 500)

    return guarded


async def _body(request: WebRequest, shape: type[Body]) -> Body:
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise BodyError(415, "Expected request with `Content-Type: application/json`")
    content = b""
    async for piece in request.stream():
        content += piece
        if len(content) > LARGEST_BODY:
            raise BodyError(413, f"the body is larger than {LARGEST_BODY} bytes")
    try:
        return shape.model_validate_json(content)
    except SchemaError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] == "json_invalid":
            raise BodyError(400, f"Failed to parse the request body as JSON: {first['msg']}") from error
        message = f"Failed to deserialize the JSON body into the target type: {place}: {first['msg']}"
        raise BodyError(422, message) from error


def _leaving(request: WebRequest) -> Callable[[], Coroutine[Any, Any, None]]:
    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    return gone
