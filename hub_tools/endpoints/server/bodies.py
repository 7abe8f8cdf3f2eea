"""Reads a request's body within limits, and says what is wrong with one that is not as it should be."""

from __future__ import annotations

from typing import TypeVar

from pydantic import TypeAdapter
from pydantic import ValidationError as SchemaError
from starlette.requests import Request as WebRequest

from hub_tools.endpoints.server.errors import BodyError

LARGEST_BODY = 2_000_000  # bytes; TGI's own default

Body = TypeVar("Body")


async def read_body(request: WebRequest, shape: TypeAdapter[Body]) -> Body:
    """The body in its shape; raises `BodyError`."""
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise BodyError(415, "Expected request with `Content-Type: application/json`")
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > LARGEST_BODY:
            raise BodyError(413, f"the body is larger than {LARGEST_BODY} bytes")
        pieces.append(piece)
    try:
        return shape.validate_json(b"".join(pieces))
    except SchemaError as error:
        raise _body_error(error) from error


def _body_error(error: SchemaError) -> BodyError:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return BodyError(400, f"Failed to parse the request body as JSON: {first['msg']}")
    place = ".".join(str(part) for part in first["loc"])
    return BodyError(
        422, f"Failed to deserialize the JSON body into the target type: {place}: {first['msg']}"
    )
