"""Tool calls, the way TGI makes them: a JSON grammar over the tools, and the answer read back."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hub_tools.endpoints.server.errors import ToolError
from hub_tools.endpoints.server.openai_schema import ChatBody, Function, NamedTool, Tool

NO_TOOL = "no_tool"
_NO_TOOL = Tool(function=Function(name=NO_TOOL, description="Answer in plain text, without a function."))
_PROMPT = (
    "You may call one of the functions described below. Answer with one JSON object that names the function "
    "and gives its arguments by name, as concrete values."
)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that the model wants called; `arguments` is a JSON object, written out."""

    id: str
    name: str
    arguments: str


def tools_of(body: ChatBody) -> tuple[Tool, ...]:
    """The tools that an answer may choose from; none if the answer is to be plain text."""
    tools, choice = body.tools or (), body.tool_choice
    if not tools or choice == "none":
        return ()
    if body.response_format is not None:
        raise ToolError("Grammar and tools are mutually exclusive")
    if choice is None or choice == "auto":
        return (*tools, _NO_TOOL)
    if choice == "required":
        return tools
    name = choice.function.name if isinstance(choice, NamedTool) else choice
    named = tuple(tool for tool in tools if tool.function.name == name)
    if not named:
        raise ToolError(f"Tool with name {name} not found")
    return named[:1]


def schema_of(tools: Sequence[Tool]) -> dict[str, Any]:
    """The JSON schema of an answer that calls one of these: `{"function": {"_name": ..., arguments}}`."""
    calls = [_call_schema(tool) for tool in tools]
    schema = {"type": "object", "properties": {"function": {"anyOf": calls}}, "required": ["function"]}
    return {**schema, "$defs": _definitions(tools)}


def instructions(tools: Sequence[Tool], prompt: str | None) -> str:
    """What is put behind the last message where the chat template does not know of tools itself."""
    described = [tool.function.model_dump(exclude_none=True) for tool in tools]
    return f"\n---\n{prompt or _PROMPT}\n{json.dumps(described, ensure_ascii=False)}"


def read_call(text: str) -> ToolCall | None:
    """The call that an answer holds, None for plain text; raises `ToolError` for one that was cut off."""
    try:
        function = json.loads(text)["function"]
        name = str(function.pop("_name"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ToolError("Failed to parse generated text: it is no whole call; allow more tokens") from error
    if name == NO_TOOL:
        return None
    number = str(10**8 + secrets.randbelow(9 * 10**8))
    return ToolCall(number, name, json.dumps(function, ensure_ascii=False))


def _call_schema(tool: Tool) -> dict[str, Any]:
    parameters = tool.function.parameters
    given, required = parameters.get("properties"), parameters.get("required")
    return {
        "type": "object",
        "properties": {
            "_name": {"type": "string", "const": tool.function.name},
            **{name: schema for name, schema in _dict(given).items() if name != "_name"},
        },
        "required": ["_name", *(required if isinstance(required, list) else [])],
    }


def _definitions(tools: Sequence[Tool]) -> dict[str, Any]:
    """Every tool's `$defs` in one place, where its references look for them."""
    found: dict[str, Any] = {}
    for tool in tools:
        for name, schema in _dict(tool.function.parameters.get("$defs")).items():
            if found.setdefault(name, schema) != schema:
                raise ToolError(f"two tools define {name} in different ways")
    return found


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
