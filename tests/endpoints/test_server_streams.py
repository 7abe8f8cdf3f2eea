from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.request import Request, urlopen

import pytest
from server_support import BASE, Caller

PROMPTS = ["hello world", "Score: 1 Score: 5 the judge gives", "café 日本 😀 über world " * 4]
CHAT = "/v1/chat/completions"


def _events(endpoint: Caller, path: str, body: dict[str, Any]) -> Iterator[Any]:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {endpoint.token}"}
    request = Request(endpoint.url + path, json.dumps(body).encode(), headers)
    with urlopen(request, timeout=60) as reply:
        assert reply.status == 200
        assert reply.headers["content-type"].startswith("text/event-stream")
        for line in reply:
            if line.strip():
                text = line.decode().rstrip("\n")
                assert text.startswith("data: "), text
                data = text.removeprefix("data: ")
                yield data if data == "[DONE]" else json.loads(data)


def _messages(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("path", ["/generate_stream", "/"])
def test_stream_is_the_answer_token_by_token(endpoint: Caller, prompt: str, path: str) -> None:
    settings = {"max_new_tokens": 20, "details": True, "top_n_tokens": 2, "return_full_text": False}
    whole = endpoint.generate(prompt, **settings).body
    *steps, last = _events(endpoint, path, {"inputs": prompt, "parameters": settings, "stream": True})
    events = [*steps, last]
    assert [event["index"] for event in events] == list(range(1, len(events) + 1))
    assert [event["token"] for event in events] == whole["details"]["tokens"]
    assert [event["top_tokens"] for event in events] == whole["details"]["top_tokens"]
    assert all(step["generated_text"] is None and step["details"] is None for step in steps)
    assert last["generated_text"] == whole["generated_text"]
    assert last["details"].pop("input_length") > 0
    expected = {name: whole["details"][name] for name in ("finish_reason", "generated_tokens", "seed")}
    assert last["details"] == expected


def test_stream_has_no_details_unless_asked_and_the_prompt_if_asked(endpoint: Caller) -> None:
    parameters = {"max_new_tokens": 3, "return_full_text": True}
    *_, last = _events(endpoint, "/generate_stream", {"inputs": "hello", "parameters": parameters})
    assert last["details"] is None
    assert last["generated_text"] == endpoint.generate("hello", **parameters).body["generated_text"]


def test_streams_beside_each_other_stay_apart(endpoint: Caller) -> None:
    def text(prompt: str) -> str:
        body = {"inputs": prompt, "parameters": {"max_new_tokens": 25}}
        last: str = list(_events(endpoint, "/generate_stream", body))[-1]["generated_text"]
        return last

    alone = [text(prompt) for prompt in PROMPTS]
    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(text, PROMPTS * 4)) == alone * 4


@pytest.mark.parametrize(
    ("parameters", "part"),
    [
        ({"top_p": 1.0}, "`top_p` must be"),
        ({"best_of": 2, "do_sample": True}, "`best_of` != 1 is not supported when streaming tokens"),
        ({"decoder_input_details": True}, "not supported when streaming tokens"),
        ({"grammar": {"type": "regex", "value": "("}}, "grammar is not valid"),
    ],
)
def test_native_stream_tells_errors_in_an_event(
    endpoint: Caller, parameters: dict[str, Any], part: str
) -> None:
    [event] = _events(endpoint, "/generate_stream", {"inputs": "x", "parameters": parameters})
    assert event["error_type"] == "validation"
    assert part in event["error"]


@pytest.mark.parametrize("stop", [None, ["o", "e"]])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_chat_stream_adds_up_to_the_answer(endpoint: Caller, prompt: str, stop: list[str] | None) -> None:
    settings = {"max_tokens": 30, "temperature": 0, "stop": stop}
    whole = endpoint.chat(prompt, **settings).body
    body = {"messages": _messages(prompt), "stream": True, **settings}
    *chunks, done = _events(endpoint, CHAT, body)
    assert done == "[DONE]"
    choices = [chunk["choices"][0] for chunk in chunks]
    text = "".join(choice["delta"]["content"] for choice in choices)
    assert text == whole["choices"][0]["message"]["content"]
    assert [choice["finish_reason"] for choice in choices[:-1]] == [None] * (len(choices) - 1)
    assert choices[-1]["finish_reason"] == whole["choices"][0]["finish_reason"]
    assert len(chunks) == whole["usage"]["completion_tokens"]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert {chunk["model"] for chunk in chunks} == {BASE}
    assert {choice["delta"]["role"] for choice in choices} == {"assistant"}


def test_chat_stream_has_usage_and_logprobs_if_asked(endpoint: Caller) -> None:
    settings = {"max_tokens": 5, "temperature": 0, "logprobs": True, "top_logprobs": 2}
    whole = endpoint.chat("hello", **settings).body
    body = {"messages": _messages("hello"), "stream": True, "stream_options": {"include_usage": True}}
    *chunks, usage, _ = _events(endpoint, CHAT, {**body, **settings})
    assert (usage["choices"], usage["usage"]) == ([], whole["usage"])
    noted = [chunk["choices"][0]["logprobs"]["content"][0] for chunk in chunks]
    assert noted == whole["choices"][0]["logprobs"]["content"]


def test_openai_streams_that_cannot_start_are_refused_with_a_status(endpoint: Caller) -> None:
    refused = endpoint.chat("x", stream=True, top_p=1.0)
    assert (refused.status, refused.body["error_type"]) == (422, "validation")
    refused = endpoint.post("/v1/completions", {"prompt": ["x", ""], "stream": True})
    assert (refused.status, refused.body["error_type"]) == (422, "validation")


def test_completions_answer_each_prompt(endpoint: Caller) -> None:
    settings = {"max_tokens": 12, "temperature": 0}
    reply = endpoint.post("/v1/completions", {"prompt": PROMPTS, "model": "tgi", **settings})
    texts = [endpoint.generate(prompt, max_new_tokens=12).body["generated_text"] for prompt in PROMPTS]
    assert reply.body["object"] == "text_completion"
    assert [choice["text"] for choice in reply.body["choices"]] == texts
    assert [choice["index"] for choice in reply.body["choices"]] == [0, 1, 2]
    assert reply.body["usage"]["prompt_tokens"] == int(reply.headers["x-prompt-tokens"])

    streamed = [""] * 3
    *chunks, done = _events(endpoint, "/v1/completions", {"prompt": PROMPTS, "stream": True, **settings})
    for chunk in chunks:
        streamed[chunk["choices"][0]["index"]] += chunk["choices"][0]["text"]
    assert streamed == texts
    assert sum("usage" in chunk for chunk in chunks) == 3
    assert done == "[DONE]"


@pytest.mark.parametrize(
    ("settings", "error_type"),
    [
        ({"prompt": ["x"] * 5}, "batch size exceeded"),
        ({"prompt": []}, "batch size exceeded"),
        ({"prompt": "x", "suffix": "y"}, "suffix not supported"),
        ({"prompt": "x", "n": 2}, "validation"),
        ({"prompt": "x", "echo": True}, "validation"),
        ({"prompt": "x", "model": "nobody"}, "validation"),
        ({"prompt": ["x", ""]}, "validation"),
    ],
)
def test_completions_that_are_wrong(endpoint: Caller, settings: dict[str, Any], error_type: str) -> None:
    reply = endpoint.post("/v1/completions", {"max_tokens": 2, **settings})
    assert (reply.status, reply.body["error_type"]) == (422, error_type)
