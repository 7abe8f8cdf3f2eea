"""The OpenAPI document of the routes, for clients and tools that generate themselves from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from hub_tools.endpoints.server.info import LABEL

_REFERENCE = "#/components/schemas/{model}"
_ERRORS = {
    "422": "Input validation error",
    "424": "Generation error",
    "429": "Model is overloaded",
    "500": "Incomplete generation",
}
_ERROR_SHAPE = {
    "type": "object",
    "required": ["error", "error_type"],
    "properties": {"error": {"type": "string"}, "error_type": {"type": "string"}},
}


def openapi(bodies: Mapping[str, TypeAdapter[Any]], read_only: Sequence[str]) -> dict[str, Any]:
    """The document for routes that take a body by POST, and for those that only answer a GET."""
    shapes, shared = TypeAdapter.json_schemas(
        [(path, "validation", adapter) for path, adapter in bodies.items()], ref_template=_REFERENCE
    )
    paths: dict[str, Any] = {path: {"get": {"responses": _responses({})}} for path in read_only}
    for path in bodies:
        body = {"required": True, "content": {"application/json": {"schema": shapes[path, "validation"]}}}
        paths.setdefault(path, {})["post"] = {"requestBody": body, "responses": _responses(_ERRORS)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Text Generation Inference, as the embedded endpoint answers it", "version": LABEL},
        "paths": paths,
        "components": {"schemas": {**shared.get("$defs", {}), "ErrorResponse": _ERROR_SHAPE}},
    }


def _responses(errors: Mapping[str, str]) -> dict[str, Any]:
    shape = {"application/json": {"schema": {"$ref": _REFERENCE.format(model="ErrorResponse")}}}
    failures = {status: {"description": text, "content": shape} for status, text in errors.items()}
    return {"200": {"description": "The answer"}, **failures}
