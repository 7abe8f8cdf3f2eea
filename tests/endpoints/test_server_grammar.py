from __future__ import annotations

import asyncio
import json
import re
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

import pytest
from server_support import Caller, Tiny

from hub_tools.endpoints.server import compiler
from hub_tools.endpoints.server.errors import ValidationError
from hub_tools.endpoints.server.grammar import GrammarSource
from hub_tools.endpoints.server.vocabulary import token_bytes


def _chat(endpoint: Caller, response_format: dict[str, Any], seed: int = 0) -> str:
    settings = {"max_tokens": 120, "seed": seed, "response_format": response_format}
    reply = endpoint.chat("the judge gives a score", **settings)
    assert reply.status == 200, reply.body
    text: str = reply.body["choices"][0]["message"]["content"]
    return text


@pytest.mark.parametrize("regex", [r"Score: [1-5]", r"[^\n]{1,20}\nScore: [1-5]", r"(日本|café|😀){1,3}!"])
def test_answers_hold_to_a_regex(endpoint: Caller, regex: str) -> None:
    with ThreadPoolExecutor(6) as pool:
        grammar = {"type": "regex", "value": regex}
        texts = list(pool.map(lambda seed: _chat(endpoint, grammar, seed), range(6)))
    for text in texts:
        assert re.fullmatch(regex, text), text


def test_generate_takes_a_grammar_too_and_ends_by_itself(endpoint: Caller) -> None:
    grammar = {"type": "regex", "value": "Score: [1-5]"}
    body = endpoint.generate("the judge", max_new_tokens=50, grammar=grammar, details=True).body
    assert re.fullmatch("Score: [1-5]", body["generated_text"])
    assert body["details"]["finish_reason"] == "eos_token"


def test_logprobs_are_of_the_masked_distribution(endpoint: Caller) -> None:
    grammar = {"type": "regex", "value": "[1-5]"}
    body = endpoint.chat("x", max_tokens=2, logprobs=True, top_logprobs=5, response_format=grammar).body
    first, end = body["choices"][0]["logprobs"]["content"]
    assert {top["token"] for top in first["top_logprobs"]} == set("12345")
    assert sum(2.718281828 ** top["logprob"] for top in first["top_logprobs"]) == pytest.approx(1, abs=1e-3)
    assert end["logprob"] == pytest.approx(0, abs=1e-4)
    assert len(end["top_logprobs"]) == 1  # nothing else has any probability


SCHEMA = {
    "type": "object",
    "properties": {"score": {"type": "integer", "minimum": 1, "maximum": 5}, "ok": {"type": "boolean"}},
    "required": ["score", "ok"],
}


@pytest.mark.parametrize(
    "response_format",
    [
        {"type": "json", "value": SCHEMA},
        {"type": "json_object", "value": json.dumps(SCHEMA)},
        {"type": "json_schema", "value": {"name": "score", "schema": SCHEMA}},
        {"type": "json_schema", "json_schema": {"name": "score", "schema": SCHEMA}},
    ],
)
def test_json_schema_holds_in_each_spelling(endpoint: Caller, response_format: dict[str, Any]) -> None:
    answer = json.loads(_chat(endpoint, response_format))
    assert isinstance(answer["score"], int)
    assert isinstance(answer["ok"], bool)


@pytest.mark.parametrize("regex", ["(", "(?=a)b"])
def test_grammars_that_cannot_be_compiled(endpoint: Caller, regex: str) -> None:
    reply = endpoint.generate("x", grammar={"type": "regex", "value": regex})
    assert (reply.status, reply.body["error_type"]) == (422, "validation")
    assert "grammar is not valid" in reply.body["error"]


WIDE = {"properties": {f"p{n}": {"type": "object"} for n in range(40)}}


@pytest.mark.parametrize(
    "bomb", [GrammarSource("regex", r"[^\n]{1,100000}x"), GrammarSource("json", json.dumps(WIDE))]
)
def test_grammar_that_takes_too_long_is_refused(
    tiny_model: Tiny, monkeypatch: pytest.MonkeyPatch, bomb: GrammarSource
) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model.base)
    monkeypatch.setattr(compiler, "LONGEST_SECONDS", 1.0)
    bombs = compiler.GrammarCompiler(tokenizer, 2)
    for _ in range(2):
        started = monotonic()
        with pytest.raises(ValidationError, match="longer than 1 s"):
            asyncio.run(bombs.compile(bomb))
    assert monotonic() - started < 0.5  # a refusal is remembered


def test_client_that_goes_away_ends_the_compilation(tiny_model: Tiny) -> None:
    from transformers import AutoTokenizer

    async def impatient() -> None:
        bombs = compiler.GrammarCompiler(AutoTokenizer.from_pretrained(tiny_model.base), 2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.8):
                await bombs.compile(GrammarSource("regex", r"[^\n]{1,100000}x"))
        assert await bombs.compile(GrammarSource("regex", "[1-5]"))  # the compiler is free again

    asyncio.run(impatient())


def test_slow_grammar_holds_up_no_other(tiny_model: Tiny) -> None:
    from transformers import AutoTokenizer

    async def others_meanwhile() -> None:
        grammars = compiler.GrammarCompiler(AutoTokenizer.from_pretrained(tiny_model.base), 2)
        slow = asyncio.ensure_future(grammars.compile(GrammarSource("regex", r"[^\n]{1,100000}x")))
        for source in [GrammarSource("regex", "[1-5]"), GrammarSource("regex", "[1-6]")] * 2:
            assert await grammars.compile(source)
        assert not slow.done()
        slow.cancel()

    asyncio.run(others_meanwhile())


def test_largest_grammars_are_forgotten_first_come_first(
    tiny_model: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoTokenizer

    built = []

    async def build(self: Any, source: GrammarSource, eos_id: int) -> Any:
        built.append(source.text)
        return compiler._Built("no", 2)

    async def ask(texts: str) -> None:
        grammars = compiler.GrammarCompiler(AutoTokenizer.from_pretrained(tiny_model.base), 2)
        for text in texts:
            with pytest.raises(ValidationError):
                await grammars.compile(GrammarSource("regex", text))

    monkeypatch.setattr(compiler.GrammarCompiler, "_build", build)
    monkeypatch.setattr(compiler, "LARGEST_CACHE", 5)
    asyncio.run(ask("aabacab"))
    assert "".join(built) == "abcb"


MISLED = {"properties": {"a": {"$ref": "#/nowhere"}}, "required": ["a"]}


@pytest.mark.parametrize("schema", [MISLED, {"properties": {"a": {"type": "nonsense"}}, "required": ["a"]}])
def test_schemas_that_make_no_sense_are_refused(endpoint: Caller, schema: Any) -> None:
    reply = endpoint.generate("x", max_new_tokens=2, grammar={"type": "json", "value": schema})
    assert (reply.status, reply.body["error_type"]) == (422, "validation")
    assert endpoint.generate("x", max_new_tokens=2).status == 200


def test_vocabulary_spells_every_text(tiny_model: Tiny) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model.base)
    spelt = {number: token for token, numbers in token_bytes(tokenizer).items() for number in numbers}
    for text in ("hello world", "café 日本 😀\n\t", "\x00ÿ"):
        ids = tokenizer(text)["input_ids"]
        assert b"".join(spelt[number] for number in ids).decode() == text
    assert not set(spelt) & set(tokenizer.all_special_ids)
