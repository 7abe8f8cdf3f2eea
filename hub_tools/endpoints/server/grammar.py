"""Holds answers to a regular expression or a JSON schema, through outlines_core."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hub_tools.endpoints.server.errors import ValidationError
from hub_tools.endpoints.server.schema import Grammar

_CACHED = 64


@dataclass(frozen=True)
class CompiledGrammar:
    """An `outlines_core.Index` and the token that ends an answer."""

    index: Any
    eos_id: int


class GrammarMask:
    """One request's place in a compiled grammar."""

    def __init__(self, grammar: CompiledGrammar) -> None:
        from outlines_core import Guide

        self._guide = Guide(grammar.index)
        self._eos_id = grammar.eos_id
        self._words = np.zeros(0, dtype=np.int32)

    def allowed(self, size: int) -> torch.Tensor:
        """Which of `size` tokens may follow; the end token is among them where the grammar may end."""
        if len(self._words) != (size + 31) // 32:
            self._words = np.zeros((size + 31) // 32, dtype=np.int32)
        self._guide.write_mask_into(self._words.ctypes.data, self._words.size, self._words.itemsize)
        bits = np.unpackbits(self._words.view(np.uint8), count=size, bitorder="little")
        return torch.from_numpy(bits.astype(bool))

    def advance(self, token: int) -> None:
        """Move on by a chosen token."""
        if token != self._eos_id:
            self._guide.advance(token, return_tokens=False)


class Grammars:
    """Compiles grammars for one tokenizer and keeps the last few; not for several threads at once."""

    def __init__(self, tokenizer: Any, eos_id: int) -> None:
        self._tokenizer = tokenizer
        self._eos_id = eos_id
        self._vocabulary: Any = None
        self._compiled: OrderedDict[str, CompiledGrammar] = OrderedDict()

    def compile(self, grammar: Grammar | None) -> CompiledGrammar | None:
        """The grammar, ready to use, or None without one; raises `ValidationError` if it is not valid."""
        regex = regex_of(grammar)
        if regex is None:
            return None
        if regex not in self._compiled:
            self._compiled[regex] = self._build(regex)
            if len(self._compiled) > _CACHED:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(regex)
        return self._compiled[regex]

    def _build(self, regex: str) -> CompiledGrammar:
        from outlines_core import Index, Vocabulary

        if self._vocabulary is None:
            self._vocabulary = Vocabulary(self._eos_id, token_bytes(self._tokenizer))
        try:
            return CompiledGrammar(Index(regex, self._vocabulary), self._eos_id)
        except ValueError as error:
            raise ValidationError(f"grammar is not valid: {error}") from error


def regex_of(grammar: Grammar | None) -> str | None:
    """The regular expression that a request's grammar stands for."""
    if grammar is None or grammar.type == "text":
        return None
    if grammar.type == "regex":
        if not isinstance(grammar.value, str):
            raise ValidationError("grammar is not valid: a regex grammar needs a string as its value")
        return grammar.value
    return _schema_regex(_schema(grammar))


def _schema(grammar: Grammar) -> dict[str, Any]:
    value = grammar.value if grammar.value is not None else grammar.json_schema
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise ValidationError(f"grammar is not valid: {error}") from error
    if grammar.type == "json_schema" and isinstance(value, dict) and "schema" in value:
        value = value["schema"]
    if not isinstance(value, dict):
        raise ValidationError("grammar is not supported")
    if "properties" not in value:
        raise ValidationError("grammar is not valid: Grammar must have a 'properties' field")
    return value


def _schema_regex(schema: dict[str, Any]) -> str:
    from outlines_core.json_schema import build_regex_from_schema

    try:
        return str(build_regex_from_schema(json.dumps(schema)))
    except (ValueError, TypeError) as error:
        raise ValidationError(f"cannot compile regex from schema: {error}") from error


def token_bytes(tokenizer: Any) -> dict[bytes, list[int]]:
    """The bytes that each ordinary token stands for, from the tokenizer's own vocabulary."""
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    byte_level = _byte_alphabet() if _is_byte_level(tokenizer) else None
    found: dict[bytes, list[int]] = {}
    for token, number in tokenizer.get_vocab().items():
        if number not in special and (spelt := _spell(token, byte_level)):
            found.setdefault(spelt, []).append(number)
    return found


def _is_byte_level(tokenizer: Any) -> bool:
    return "ByteLevel" in json.dumps(json.loads(tokenizer.backend_tokenizer.to_str()).get("decoder"))


def _spell(token: str, byte_level: dict[str, int] | None) -> bytes:
    if byte_level is not None:
        return bytes(byte_level[character] for character in token) if set(token) <= byte_level.keys() else b""
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        return bytes([int(token[3:5], 16)])
    return token.replace("\u2581", " ").encode()


def _byte_alphabet() -> dict[str, int]:
    """The printable character by which byte-level BPE writes each byte (GPT-2's table)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(byte): byte for byte in printable}
    others = [byte for byte in range(256) if byte not in set(printable)]
    table.update({chr(256 + place): byte for place, byte in enumerate(others)})
    return table
