from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server_support import BASE, ENVIRONMENT, Caller, Tiny

POSTS = [
    "/",
    "/generate",
    "/generate_stream",
    "/v1/chat/completions",
    "/v1/completions",
    "/invocations",
    "/tokenize",
    "/chat_tokenize",
]
REFUSALS = {400, 413, 415, 422}
# A stream tells its refusal in an event, and `/tokenize` needs nothing but the inputs.
TAKEN = {(path, b'{"inputs": "x"') for path in ("/generate_stream", "/tokenize")}

odd_numbers = st.sampled_from(
    [0, -1, 1, 2**31, 2**64, 10**400, 1e-300, -0.0, 1e308, float("nan"), float("inf")]
)
odd_texts = st.sampled_from(["", "x", "\x00", "\ud800", "<|im_end|>", "�", "\u202e", "{{ 7*7 }}", "a" * 5000])
anything = st.recursive(
    st.none() | st.booleans() | odd_numbers | odd_texts | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = [
    *("adapter_id", "best_of", "temperature", "repetition_penalty", "frequency_penalty", "top_k", "top_p"),
    *("typical_p", "do_sample", "return_full_text", "stop", "truncate", "watermark", "details"),
    *("decoder_input_details", "seed", "top_n_tokens", "grammar", "model", "logprobs", "top_logprobs", "n"),
    *(
        "presence_penalty",
        "logit_bias",
        "tools",
        "tool_choice",
        "response_format",
        "stream_options",
        "suffix",
    ),
    *("echo", "tool_prompt"),
]
likely = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.sampled_from([1e-300, 0.7, 1e300]),
        "top_p": st.sampled_from([1e-300, 0.5, 0.999999]),
        "typical_p": st.sampled_from([1e-300, 0.5]),
        "top_k": st.sampled_from([1, 10, 2**31]),
        "repetition_penalty": st.sampled_from([1e-300, 1.1, 1e300]),
        "frequency_penalty": st.sampled_from([-2.0, 2.0]),
        "presence_penalty": st.sampled_from([-1.9, 1e300]),
        "stop": st.lists(odd_texts, max_size=4),
        "details": st.booleans(),
        "decoder_input_details": st.booleans(),
        "logprobs": st.booleans(),
        "top_n_tokens": st.integers(0, 5),
        "best_of": st.integers(0, 3),
        "grammar": st.sampled_from(
            [{"type": "regex", "value": "a*"}, {"type": "json", "value": {"properties": {}}}]
        ),
        "adapter_id": st.sampled_from(["org/backward", "nobody", ""]),
    },
)
parameters = st.builds(
    lambda a, b: {**a, **b, "max_new_tokens": 3, "max_tokens": 3},
    likely,
    st.dictionaries(st.sampled_from(NAMES), anything, max_size=2),
)
messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "system", "tool", "<|im_end|>"]), "content": odd_texts | anything}
    ),
    max_size=3,
)
bodies = st.builds(
    lambda start, given, stream: {**given, "parameters": given, "stream": stream, **start},
    st.one_of(
        st.fixed_dictionaries({"inputs": odd_texts | anything}),
        st.fixed_dictionaries({"prompt": odd_texts | anything}),
        st.fixed_dictionaries({"messages": messages | anything}),
    ),
    parameters,
    st.booleans() | anything,
)


@pytest.fixture(scope="module")
def target(tiny_model: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Caller, Path]]:
    """A server of its own, and its log."""
    from hub_tools.endpoints.server import ServerOptions
    from hub_tools.endpoints.server.process import EndpointProcess

    options = ServerOptions(
        str(tiny_model.base), tiny_model.adapters, model_id=BASE, max_batch_size=3, threads=1
    )
    log = tmp_path_factory.mktemp("target") / "server.log"
    with EndpointProcess.start(options, ENVIRONMENT, log) as process:
        yield Caller(process.url), log


def _post(target: Caller, path: str, content: bytes) -> tuple[int, str]:
    request = Request(target.url + path, content, {"Content-Type": "application/json"})
    try:
        with urlopen(request, timeout=60) as reply:
            return reply.status, reply.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def _check_answer(path: str, status: int, text: str) -> None:
    assert "Traceback" not in text
    assert status == 200 or status in REFUSALS, (path, status, text)
    if status != 200:
        assert set(json.loads(text)) == {"error", "error_type"}
    elif text.startswith("data: "):
        for line in filter(None, text.splitlines()):
            data = line.removeprefix("data: ")
            event = {} if data == "[DONE]" else json.loads(data)
            assert event.get("error_type") in {None, "validation"}, event
    else:
        json.loads(text)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(path=st.sampled_from(POSTS), body=bodies)
def test_no_body_breaks_the_server(target: tuple[Caller, Path], path: str, body: Any) -> None:
    status, text = _post(target[0], path, json.dumps(body).encode())
    _check_answer(path, status, text)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(path=st.sampled_from(POSTS), content=st.binary(max_size=60) | anything.map(json.dumps).map(str.encode))
def test_no_bytes_break_the_server(target: tuple[Caller, Path], path: str, content: bytes) -> None:
    status, text = _post(target[0], path, content)
    assert status in REFUSALS
    _check_answer(path, status, text)


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    "content",
    [
        b'{"inputs":' + b"[" * 100_000,
        b'{"inputs": "x", "parameters": {"grammar": {"type": "json", "value": '
        + b'{"a":' * 150
        + b"1"
        + b"}" * 153,
        b'{"inputs": "x", "parameters": {"seed": ' + b"9" * 100_000 + b"}}",
        b'{"inputs": "\\ud800"}',
        b'{"inputs": "' + b"a" * 10_000_000 + b'"}',
        b"",
    ],
    ids=["nested", "nested schema", "long number", "surrogate", "large", "empty"],
)
def test_monstrous_bodies_are_refused(target: tuple[Caller, Path], path: str, content: bytes) -> None:
    try:
        status, text = _post(target[0], path, content)
    except OSError:  # the server closed the connection before all of it was sent
        assert len(content) > 2_000_000
    else:
        _check_answer(path, status, text)
        assert status in REFUSALS or (path, content[:14]) in TAKEN


def test_after_all_of_that_the_server_is_idle_and_its_log_empty(target: tuple[Caller, Path]) -> None:
    caller, log = target
    gauges = caller.text("/metrics")
    assert "tgi_queue_size 0" in gauges
    assert "tgi_batch_current_size 0" in gauges
    assert caller.generate("hello", max_new_tokens=2).status == 200
    assert log.read_text() == f"loading {BASE} with 2 adapters …\nexport TGI_ENDPOINT={caller.url}\n"
