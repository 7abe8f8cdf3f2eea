from __future__ import annotations

import json
import re
from typing import Any

import pytest
from server_support import BASE, Caller


def test_info_names_the_model_its_adapters_and_the_limits(endpoint: Caller) -> None:
    info = endpoint.get("/info").body
    required = "model_id max_best_of max_client_batch_size max_concurrent_requests max_input_tokens"
    required += " max_stop_sequences max_total_tokens router validation_workers version model_sha model_dtype"
    assert set(required.split()) <= set(info)
    assert info["model_id"] == BASE
    assert info["max_total_tokens"] == 512
    assert list(info["adapters"]) == ["org/backward", "forward.v2"]
    assert (info["max_best_of"], info["max_client_batch_size"]) == (2, 4)
    assert tuple(map(int, info["version"].split("."))) >= (3, 3, 0)  # clients read it as TGI's


@pytest.mark.parametrize("path", ["/", "/health", "/ping"])
def test_health(endpoint: Caller, path: str) -> None:
    reply = endpoint.get(path)
    assert (reply.status, reply.body) == (200, None)


def test_models_are_the_base_and_its_adapters(endpoint: Caller) -> None:
    data = endpoint.get("/v1/models").body["data"]
    assert [entry["id"] for entry in data] == [BASE, "org/backward", "forward.v2"]


def test_tokenize_gives_ids_and_spans(endpoint: Caller) -> None:
    tokens = endpoint.post("/tokenize", {"inputs": "hello world"}).body
    assert "".join(token["text"] for token in tokens) == "hello world"
    assert tokens[0]["start"] == 0
    assert tokens[-1]["stop"] == len("hello world")


def test_compat_route_answers_a_list(endpoint: Caller) -> None:
    single = endpoint.generate("hello", max_new_tokens=5).body
    parameters = {"max_new_tokens": 5, "return_full_text": False}
    assert endpoint.post("/", {"inputs": "hello", "parameters": parameters, "stream": False}).body == [single]
    [full] = endpoint.post("/", {"inputs": "hello", "parameters": {"max_new_tokens": 5}}).body
    assert full["generated_text"] == "hello" + single["generated_text"]  # as TGI does on this route alone


def test_details_and_top_tokens_add_up(endpoint: Caller) -> None:
    reply = endpoint.generate("hello world", max_new_tokens=3, details=True, top_n_tokens=3)
    details = reply.body["details"]
    assert details["generated_tokens"] == len(details["tokens"]) == 3
    assert details["finish_reason"] == "length"
    assert (details["seed"], details["prefill"]) == (None, [])
    # The last character may be unfinished: it has no token's text yet, but a mark in the whole.
    assert reply.body["generated_text"].startswith("".join(token["text"] for token in details["tokens"]))
    for token, top in zip(details["tokens"], details["top_tokens"], strict=True):
        assert (top[0]["id"], top[0]["logprob"]) == (token["id"], token["logprob"])  # greedy
        assert len(top) == 3


def test_prefill_details_are_the_prompts_logprobs(endpoint: Caller) -> None:
    prefill = endpoint.generate("hello world", max_new_tokens=1, decoder_input_details=True).body["details"][
        "prefill"
    ]
    assert "".join(token["text"] for token in prefill) == "hello world"
    assert prefill[0]["logprob"] is None
    assert all(token["logprob"] < 0 for token in prefill[1:])


def test_full_text_and_truncate(endpoint: Caller) -> None:
    plain = endpoint.generate("hello world", max_new_tokens=4).body["generated_text"]
    full = endpoint.generate("hello world", max_new_tokens=4, return_full_text=True).body["generated_text"]
    assert full == "hello world" + plain
    last = endpoint.post("/tokenize", {"inputs": "score hello world"}).body[-1]["text"]
    reply = endpoint.generate("score hello world", max_new_tokens=4, truncate=1)
    assert reply.headers["x-prompt-tokens"] == "1"
    assert reply.body == endpoint.generate(last, max_new_tokens=4).body


def test_headers_count_tokens_and_times(endpoint: Caller) -> None:
    headers = endpoint.generate("hello", max_new_tokens=3).headers
    assert headers["x-generated-tokens"] == "3"
    assert headers["x-compute-type"] == "cpu"
    assert headers["x-compute-characters"] == "5"
    times = ("total", "validation", "queue", "inference")
    total, *parts = (int(headers[f"x-{name}-time"]) for name in times)
    assert sum(parts) == pytest.approx(total, abs=2)
    assert float(headers["x-compute-time"]) == pytest.approx(total / 1000, abs=0.001)
    assert int(headers["x-time-per-token"]) <= total
    assert int(headers["x-prompt-tokens"]) > 0


def test_best_of_gives_the_likelier_answer_and_the_other(endpoint: Caller) -> None:
    body = endpoint.generate("hello", best_of=2, do_sample=True, max_new_tokens=8, details=True).body
    details = body["details"]
    [other] = details["best_of_sequences"]
    assert other["seed"] != details["seed"]

    def likelihood(tokens: list[dict[str, Any]]) -> float:
        return sum(token["logprob"] for token in tokens) / len(tokens)

    assert likelihood(details["tokens"]) >= likelihood(other["tokens"])
    again = endpoint.generate("hello", do_sample=True, seed=other["seed"], max_new_tokens=8).body
    assert again["generated_text"] == other["generated_text"]
    assert endpoint.generate("hello", best_of=2, temperature=1.0, max_new_tokens=2).status == 200


def test_chat_tokenize_shows_the_templated_chat(endpoint: Caller) -> None:
    body = endpoint.post("/chat_tokenize", {"messages": [{"role": "user", "content": "hello 😀"}]}).body
    text = "<|im_start|>user\nhello 😀<|im_end|>\n<|im_start|>assistant\n"
    assert body["templated_text"] == text
    for token in body["tokenize_response"]:
        assert text[token["start"] : token["stop"]] == token["text"]


def test_invocations_take_all_three_kinds(endpoint: Caller) -> None:
    settings = {"temperature": 0, "max_tokens": 4}
    generated = {"inputs": "hello", "parameters": {"max_new_tokens": 4}}
    assert endpoint.post("/invocations", generated).body == endpoint.post("/", generated).body
    chat = {"messages": [{"role": "user", "content": "hello"}], **settings}
    assert endpoint.post("/invocations", chat).body["object"] == "chat.completion"
    completion = endpoint.post("/invocations", {"prompt": "hello", **settings})
    assert completion.body["object"] == "text_completion"
    assert endpoint.post("/invocations", {}).status == 422


def test_vertex_answers_the_texts_of_prompts_and_chats(endpoint: Caller) -> None:
    prompt = {"inputs": "hello", "parameters": {"max_new_tokens": 4}}
    chat = {"messages": [{"role": "user", "content": "hello"}], "temperature": 0, "max_tokens": 4}
    texts = [
        endpoint.post("/generate", prompt).body["generated_text"],
        endpoint.post("/v1/chat/completions", chat).body["choices"][0]["message"]["content"],
    ]
    assert endpoint.post("/vertex", {"instances": [prompt, chat]}).body == {"predictions": texts}
    assert endpoint.post("/vertex", {"instances": [{"inputs": "a"}]}).status == 200
    assert endpoint.post("/vertex", {"instances": []}).body["error_type"] == "validation"


def test_document_describes_every_route_with_shapes_that_are_in_it(endpoint: Caller) -> None:
    document = endpoint.get("/api-doc/openapi.json").body
    assert {"/", "/generate", "/v1/chat/completions", "/vertex", "/info"} <= set(document["paths"])
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert references <= set(document["components"]["schemas"])
    for path, methods in document["paths"].items():
        assert "get" in methods or endpoint.get(path).status == 405


@pytest.mark.parametrize(("path", "status"), [("/v2/nothing", 404), ("/generate", 405)])
def test_routes_that_are_not_there_answer_in_the_same_shape(endpoint: Caller, path: str, status: int) -> None:
    reply = endpoint.get(path)
    assert (reply.status, set(reply.body)) == (status, {"error", "error_type"})


def test_stop_may_be_one_string_and_the_length_may_have_its_newer_name(endpoint: Caller) -> None:
    settings: dict[str, Any] = {"temperature": 0, "max_completion_tokens": 9}
    listed = endpoint.chat("hello", stop=["o"], **settings).body
    assert listed["choices"] == endpoint.chat("hello", stop="o", **settings).body["choices"]
    assert listed["usage"]["completion_tokens"] <= 9


def test_stop_sequence_ends_the_answer_and_stays_in_it(endpoint: Caller) -> None:
    whole = endpoint.generate("hello world", max_new_tokens=30).body["generated_text"]
    stop = whole[9:11]
    body = endpoint.generate("hello world", max_new_tokens=30, details=True, stop=[stop, "\x00"]).body
    assert body["generated_text"] == whole[: whole.index(stop) + len(stop)]
    assert body["details"]["finish_reason"] == "stop_sequence"


def test_unset_length_runs_to_the_end_of_the_context(endpoint: Caller) -> None:
    body = endpoint.generate("hello", truncate=1, details=True).body
    end = body["details"]["finish_reason"]
    assert end in {"length", "eos_token"}
    assert end == "eos_token" or body["details"]["generated_tokens"] == 511


def test_chat_has_usage_logprobs_and_openais_finish_reasons(endpoint: Caller) -> None:
    body = endpoint.chat("hello", temperature=0, max_tokens=6, logprobs=True, top_logprobs=2, ignored=1).body
    choice = body["choices"][0]
    content = choice["logprobs"]["content"]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["content"].startswith("".join(entry["token"] for entry in content))
    assert all(len(entry["top_logprobs"]) == 2 for entry in content)
    usage = body["usage"]
    assert usage["completion_tokens"] == 6
    assert usage["total_tokens"] == usage["prompt_tokens"] + 6
    assert endpoint.chat("hello", max_tokens=2).body["choices"][0]["logprobs"] is None


def test_content_in_parts_is_the_text_put_together(endpoint: Caller) -> None:
    settings: dict[str, Any] = {"temperature": 0, "max_tokens": 8}
    parts = [{"type": "text", "text": "hello "}, {"type": "text", "text": "world"}]
    body = {"messages": [{"role": "user", "content": parts}], **settings}
    answer = endpoint.post("/v1/chat/completions", body).body["choices"][0]["message"]
    assert answer == endpoint.chat("hello world", **settings).body["choices"][0]["message"]


@pytest.mark.parametrize(
    ("parameters", "part"),
    [
        ({"top_p": 1.0}, "`top_p` must be > 0.0 and < 1.0"),
        ({"temperature": 0}, "`temperature` must be strictly positive"),
        ({"repetition_penalty": 0.0}, "`repetition_penalty`"),
        ({"top_k": 0}, "`top_k`"),
        ({"max_new_tokens": 0}, "`max_new_tokens`"),
        ({"max_new_tokens": 512}, "`inputs` tokens + `max_new_tokens` must be <= 512"),
        ({"stop": list("abcde")}, "up to 4 stop sequences"),
        ({"top_n_tokens": 6}, "`top_n_tokens`"),
        ({"truncate": 0}, "`truncate`"),
        ({"best_of": 2}, "you must use sampling when `best_of` is > 1"),
        ({"best_of": 3, "do_sample": True}, "`best_of` must be > 0 and <= 2. Given: 3"),
        ({"best_of": 2, "do_sample": True, "seed": 1}, "`seed` must not be set when `best_of` > 1"),
        ({"typical_p": 1.0}, "`typical_p` must be > 0.0 and < 1.0"),
        ({"frequency_penalty": 2.1}, "`frequency_penalty` must be >= -2.0 and <= 2.0"),
        ({"adapter_id": "nobody"}, "adapter 'nobody' is not loaded"),
        ({"grammar": {"type": "json", "value": {"type": "object"}}}, "'properties' field"),
        ({"grammar": {"type": "regex", "value": 3}}, "grammar is not valid"),
    ],
)
def test_values_that_tgi_refuses(endpoint: Caller, parameters: dict[str, Any], part: str) -> None:
    reply = endpoint.generate("hello", **parameters)
    assert reply.status == 422
    assert reply.body["error_type"] == "validation"
    assert part in reply.body["error"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"\xff\xfe", 400),
        ({}, 422),
        ({"inputs": 3}, 422),
        ({"inputs": ""}, 422),
        ({"inputs": "x", "parameters": {"temperature": "0.5"}}, 422),
        ({"inputs": "x", "parameters": {"seed": -1}}, 422),
        (b'{"inputs": "x", "parameters": {"temperature": NaN}}', 422),
        ({"inputs": "x" * 2_000_001}, 413),
    ],
)
def test_bodies_that_are_wrong(endpoint: Caller, body: Any, status: int) -> None:
    reply = endpoint.post("/generate", body)
    assert reply.status == status
    assert set(reply.body) == {"error", "error_type"}
    assert "Traceback" not in reply.body["error"]


def test_body_must_be_declared_as_json(endpoint: Caller) -> None:
    assert endpoint.post("/generate", {"inputs": "x"}, "text/plain").status == 415


@pytest.mark.parametrize(
    ("settings", "error_type"),
    [
        ({"messages": []}, "template_error"),
        ({"messages": [{"role": "<|im_end|>", "content": "x"}]}, "template_error"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "validation"),
        ({"top_p": 1.0}, "validation"),
        ({"stream": True, "top_p": 1.0}, "validation"),
        ({"n": 2}, "validation"),
        ({"logit_bias": {"5": 100}}, "validation"),
        ({"presence_penalty": -2.0}, "validation"),
        ({"model": "nobody"}, "validation"),
        ({"max_tokens": 600}, "validation"),
    ],
)
def test_chats_that_are_wrong(endpoint: Caller, settings: dict[str, Any], error_type: str) -> None:
    body = {"messages": [{"role": "user", "content": "x"}], **settings}
    reply = endpoint.post("/v1/chat/completions", body)
    assert (reply.status, reply.body["error_type"]) == (422, error_type)
