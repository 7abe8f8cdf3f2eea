"""The client against the embedded endpoint: both routes, token counts, and errors by their class."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from huggingface_hub.errors import (
    InferenceTimeoutError,
    OverloadedError,
    TextGenerationError,
    ValidationError,
)
from server_support import BASE, Caller

from hub_tools.endpoints import client as module
from hub_tools.endpoints.client import EndpointClient
from hub_tools.endpoints.failures import (
    EndpointError,
    Overloaded,
    Refused,
    TimedOut,
    Unavailable,
    Unreachable,
)
from hub_tools.endpoints.wire import ChatRequest, GenerateRequest, Info, openai_info, tgi_info

Result = TypeVar("Result")
CHAT = ChatRequest(
    model=BASE,
    messages=[{"role": "user", "content": "hello world"}],
    max_tokens=6,
    temperature=0.7,
    top_p=0.9,
    seed=3,
)
PLAIN = GenerateRequest(inputs="hello world", max_tokens=6, temperature=0.7, top_p=None, seed=3)


def with_client(url: str, use: Callable[[EndpointClient], Awaitable[Result]], **settings: Any) -> Result:
    async def run() -> Result:
        async with EndpointClient(url, **settings) as client:
            return await use(client)

    return asyncio.run(run())


def test_a_chat_and_a_native_request_are_answered_the_same_way_twice(endpoint: Caller) -> None:
    for request in (CHAT, PLAIN):
        first, queued, _ = with_client(endpoint.url, lambda client, request=request: client.ask(request))
        again, *_ = with_client(endpoint.url, lambda client, request=request: client.ask(request))
        assert first == again
        assert first.text
        assert 0 < first.completion_tokens <= 6
        assert first.prompt_tokens >= 2
        assert first.finish_reason in ("length", "stop", "eos_token")
        assert queued is not None
        assert queued >= 0


def test_rival_tokens_come_with_both_routes(endpoint: Caller) -> None:
    chat = replace(CHAT, extra={"logprobs": True, "top_logprobs": 3})
    plain = replace(PLAIN, extra={"top_n_tokens": 3})
    for request in (chat, plain):
        completion, *_ = with_client(endpoint.url, lambda client, request=request: client.ask(request))
        assert len(completion.tokens) == completion.completion_tokens
        assert all(1 <= len(rivals) <= 4 for _, rivals in completion.tokens)


def test_the_server_counts_a_prompt_as_it_will_read_it(endpoint: Caller) -> None:
    for request in (CHAT, PLAIN):
        counted = with_client(endpoint.url, lambda client, request=request: client.count(request))
        completion, *_ = with_client(endpoint.url, lambda client, request=request: client.ask(request))
        assert counted is not None
        assert counted <= completion.prompt_tokens
        assert counted >= 2


def test_info_tells_the_limits(endpoint: Caller) -> None:
    info = with_client(endpoint.url, lambda client: client.info())
    assert info.model_id == BASE
    assert info.max_concurrent_requests
    assert info.max_total_tokens == 512
    assert info.longest_prompt(100) == 412
    assert with_client(endpoint.url, lambda client: client.healthy())


def test_a_request_that_the_server_never_takes_is_refused(endpoint: Caller) -> None:
    with pytest.raises(Refused, match=r"422: .*max_new_tokens") as refused:
        with_client(endpoint.url, lambda client: client.ask(replace(CHAT, max_tokens=5000)))
    assert isinstance(refused.value, ValidationError)


@pytest.mark.parametrize(
    ("status", "headers", "kind", "after"),
    [
        (429, {"Retry-After": "7"}, Overloaded, 7.0),
        (429, {"Retry-After": "soon"}, Overloaded, None),
        (429, {"Retry-After": "nan"}, Overloaded, None),
        (503, {"Retry-After": "0.5"}, Unavailable, 0.5),
        (502, {}, Unavailable, None),
        (401, {}, Unreachable, None),
        (302, {}, Unreachable, None),
        (500, {}, EndpointError, None),
    ],
)
def test_statuses_become_errors_that_say_what_to_do(
    status: int, headers: dict[str, str], kind: type[EndpointError], after: float | None
) -> None:
    with pytest.raises(kind) as failed:
        module._raise("http://a", status, headers, b'{"error": "bad \\u001b[31m\\nthing"}')
    assert failed.value.retry_after == after
    assert "bad [31m thing" in str(failed.value)
    assert isinstance(failed.value, TextGenerationError)


def test_errors_are_those_of_huggingface_hub() -> None:
    assert issubclass(Overloaded, OverloadedError)
    assert issubclass(TimedOut, InferenceTimeoutError)
    assert issubclass(TimedOut, TimeoutError)


def test_servers_without_info_tell_what_they_can() -> None:
    assert openai_info({"data": [{"id": "m", "max_model_len": 4096}]}).longest_prompt(1000) == 3096
    assert openai_info({"data": [{"id": "m"}]}).longest_prompt(1000) is None
    assert tgi_info({"model_id": "m", "max_input_tokens": 100}) == Info(
        model_id="m", kind="tgi", max_input_tokens=100
    )


@pytest.mark.parametrize(
    "answer",
    [[1, 2, 3], {"tokenize_response": [1, 2, 3]}, {"count": 3, "tokens": []}, {"tokens": [1, 2, 3]}],
)
def test_every_servers_way_to_count_is_read(answer: Any) -> None:
    assert module._count(answer) == 3
