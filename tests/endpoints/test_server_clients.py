from __future__ import annotations

import asyncio
from typing import Any

import pytest
from server_support import Caller

QUESTION = [{"role": "user", "content": "hello"}]


def test_text_generation_of_huggingface_hub(endpoint: Caller) -> None:
    from huggingface_hub import InferenceClient

    client = InferenceClient(base_url=endpoint.url)
    details = client.text_generation("hello world", max_new_tokens=6, details=True, top_n_tokens=2)
    assert details.generated_text == client.text_generation("hello world", max_new_tokens=6)
    assert details.details.generated_tokens == len(details.details.tokens) == 6
    other = client.text_generation("hello world", max_new_tokens=6, adapter_id="org/backward")
    assert other != details.generated_text


def test_chat_completion_of_huggingface_hub(endpoint: Caller) -> None:
    from huggingface_hub import InferenceClient

    client = InferenceClient(base_url=endpoint.url)
    answer = client.chat_completion(
        [{"role": "user", "content": "hello"}], max_tokens=5, temperature=0, logprobs=True, top_logprobs=1
    )
    assert answer.usage.completion_tokens == 5
    assert answer.choices[0].logprobs is not None
    assert answer.choices[0].message.content is not None


def test_errors_arrive_as_the_hubs_own(endpoint: Caller) -> None:
    from huggingface_hub import InferenceClient
    from huggingface_hub.inference._common import ValidationError

    client = InferenceClient(base_url=endpoint.url)
    with pytest.raises(ValidationError, match="top_p"):
        client.text_generation("hello", top_p=1.0, do_sample=True)


def test_streams_of_huggingface_hub(endpoint: Caller) -> None:
    from huggingface_hub import InferenceClient

    client = InferenceClient(base_url=endpoint.url)
    whole = client.text_generation("hello world", max_new_tokens=8)
    outputs = list(client.text_generation("hello world", max_new_tokens=8, stream=True, details=True))
    assert outputs[-1].generated_text == whole
    assert outputs[-1].details is not None
    assert outputs[-1].details.generated_tokens == len(outputs)
    assert "".join(client.text_generation("hello world", max_new_tokens=8, stream=True)) in whole

    answer = client.chat_completion(QUESTION, max_tokens=8, temperature=0).choices[0].message.content
    chunks = client.chat_completion(QUESTION, max_tokens=8, temperature=0, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == answer


def test_streams_of_the_asynchronous_client(endpoint: Caller) -> None:
    from huggingface_hub import AsyncInferenceClient

    async def both() -> tuple[list[Any], list[Any]]:
        client = AsyncInferenceClient(base_url=endpoint.url)
        tokens = await client.text_generation("hello", max_new_tokens=6, stream=True, details=True)
        chunks = await client.chat_completion(
            QUESTION, max_tokens=6, temperature=0, stream=True, stream_options={"include_usage": True}
        )
        return [token async for token in tokens], [chunk async for chunk in chunks]

    tokens, chunks = asyncio.run(both())
    assert tokens[-1].generated_text
    assert chunks[-1].usage.completion_tokens == len(chunks) - 1


def test_stream_errors_arrive_as_the_hubs_own(endpoint: Caller) -> None:
    from huggingface_hub import InferenceClient
    from huggingface_hub.inference._common import ValidationError

    client = InferenceClient(base_url=endpoint.url)
    with pytest.raises(ValidationError, match="top_p"):
        list(client.text_generation("hello", top_p=1.0, stream=True))


def test_tools_of_huggingface_hub(endpoint: Caller) -> None:
    from huggingface_hub import InferenceClient

    function = {
        "name": "grade",
        "description": "Give a score.",
        "parameters": {
            "type": "object",
            "properties": {"score": {"enum": [1, 2, 3, 4, 5]}},
            "required": ["score"],
        },
    }
    client = InferenceClient(base_url=endpoint.url)
    answer = client.chat_completion(
        QUESTION, tools=[{"type": "function", "function": function}], tool_choice="required", max_tokens=60
    )
    calls = answer.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].function.name == "grade"
