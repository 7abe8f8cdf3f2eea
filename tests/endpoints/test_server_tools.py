from __future__ import annotations

import json
from typing import Any

import pytest
from server_support import Caller

from hub_tools.endpoints.server.errors import ToolError
from hub_tools.endpoints.server.openai_schema import ChatBody
from hub_tools.endpoints.server.tools import read_call, schema_of, tools_of

SCORE = {"type": "object", "properties": {"score": {"enum": [1, 2, 3]}}, "required": ["score"]}
NOTHING: dict[str, Any] = {"type": "object", "properties": {}}
TOOLS = [
    {"type": "function", "function": {"name": "grade", "description": "Give a score.", "parameters": SCORE}},
    {"type": "function", "function": {"name": "skip", "parameters": NOTHING}},
]


def _calls(endpoint: Caller, **settings: Any) -> list[dict[str, Any]]:
    reply = endpoint.chat("hello", max_tokens=80, tools=TOOLS, **settings)
    assert reply.status == 200, reply.body
    calls: list[dict[str, Any]] = reply.body["choices"][0]["message"].get("tool_calls", [])
    return calls


def test_required_tool_is_called_with_arguments_of_its_schema(endpoint: Caller) -> None:
    for seed in range(4):
        [call] = _calls(endpoint, tool_choice="required", seed=seed)
        arguments = json.loads(call["function"]["arguments"])
        assert call["type"] == "function"
        assert int(call["id"]) > 0
        if call["function"]["name"] == "grade":
            assert arguments["score"] in {1, 2, 3}
        else:
            assert (call["function"]["name"], arguments) == ("skip", {})


@pytest.mark.parametrize("choice", [{"type": "function", "function": {"name": "skip"}}, "skip"])
def test_named_tool_is_the_one_called(endpoint: Caller, choice: Any) -> None:
    [call] = _calls(endpoint, tool_choice=choice, seed=3)
    assert call["function"]["name"] == "skip"


def test_tool_call_is_streamed_as_one_delta(endpoint: Caller) -> None:
    body = {"messages": [{"role": "user", "content": "hello"}], "tools": TOOLS, "tool_choice": "required"}
    options = {"stream": True, "stream_options": {"include_usage": True}, "max_tokens": 80, "seed": 0}
    [expected] = _calls(endpoint, tool_choice="required", seed=0)
    text = endpoint.text("/v1/chat/completions", {**body, **options})
    first, usage, done = [line.removeprefix("data: ") for line in text.splitlines() if line]
    [call] = json.loads(first)["choices"][0]["delta"]["tool_calls"]
    assert call["index"] == 0
    assert call["function"] == expected["function"]
    assert json.loads(usage)["usage"]["completion_tokens"] > 0
    assert done == "[DONE]"


def test_auto_answers_in_text_or_with_a_call(endpoint: Caller) -> None:
    kinds = set()
    for seed in range(12):
        settings = {"max_tokens": 150, "tools": TOOLS, "tool_choice": "auto", "tool_prompt": "Call one."}
        reply = endpoint.chat("hello", seed=seed, **settings)
        assert reply.status == 200, reply.body
        message = reply.body["choices"][0]["message"]
        kinds.add("call" if "tool_calls" in message else "text")
        assert ("content" in message) != ("tool_calls" in message)
    assert kinds == {"call", "text"}


def test_no_tool_is_called_where_none_may_be(endpoint: Caller) -> None:
    settings = {"max_tokens": 12, "temperature": 0}
    plain = endpoint.chat("hello", **settings).body["choices"]
    assert endpoint.chat("hello", tools=TOOLS, tool_choice="none", **settings).body["choices"] == plain


@pytest.mark.parametrize(
    "settings",
    [
        {"tool_choice": "nobody"},
        {"tool_choice": "required", "max_tokens": 2},  # cut off
        {"tool_choice": "auto", "response_format": {"type": "json", "value": {"properties": {}}}},
    ],
)
def test_tools_that_cannot_be_used_are_tool_errors(endpoint: Caller, settings: dict[str, Any]) -> None:
    reply = endpoint.chat("hello", tools=TOOLS, **settings)
    assert (reply.status, reply.body["error_type"]) == (422, "tool_error")
    assert reply.body["error"].startswith("Tool error: ")


def test_earlier_calls_and_their_results_are_taken_up(endpoint: Caller) -> None:
    [call] = _calls(endpoint, tool_choice="required", seed=0)
    messages = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": "done"},
    ]
    reply = endpoint.post("/chat_tokenize", {"messages": messages})
    assert reply.status == 200, reply.body
    assert "grade" in reply.body["templated_text"] or "skip" in reply.body["templated_text"]


def test_definitions_move_to_the_root_where_references_look() -> None:
    def body(*definitions: dict[str, Any]) -> ChatBody:
        tools = [
            {"function": {"name": f"t{n}", "parameters": {"properties": {}, "$defs": found}}}
            for n, found in enumerate(definitions)
        ]
        messages = [{"role": "user", "content": "x"}]
        return ChatBody.model_validate_json(
            json.dumps({"messages": messages, "tools": tools, "tool_choice": "required"})
        )

    same = {"A": {"type": "integer"}}
    assert schema_of(tools_of(body(same, same)))["$defs"] == same
    with pytest.raises(ToolError, match="two tools define A"):
        schema_of(tools_of(body(same, {"A": {"type": "string"}})))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"function": 3}', '{"function": {"a": 1}}'])
def test_answers_that_are_no_call(text: str) -> None:
    with pytest.raises(ToolError):
        read_call(text)
