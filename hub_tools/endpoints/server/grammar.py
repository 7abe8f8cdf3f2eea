"""Holds an answer to a regular expression or a JSON schema, token by token."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from hub_tools.endpoints.server.errors import ValidationError
from hub_tools.endpoints.server.schema import Grammar


@dataclass(frozen=True, slots=True)
class GrammarSource:
    """A grammar as it came: a regular expression, or a JSON schema written out."""

    kind: Literal["regex", "json"]
    text: str


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


def source_of(grammar: Grammar | None) -> GrammarSource | None:
    """What a request's grammar says, checked as far as that is cheap; it is compiled elsewhere."""
    if grammar is None or grammar.type == "text":
        return None
    if grammar.type == "regex":
        if not isinstance(grammar.value, str):
            raise ValidationError("grammar is not valid: a regex grammar needs a string as its value")
        return GrammarSource("regex", grammar.value)
    return GrammarSource("json", json.dumps(_schema(grammar)))


def _schema(grammar: Grammar) -> dict[str, Any]:
    value = grammar.value if grammar.value is not None else grammar.json_schema
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise ValidationError(f"grammar is not valid: {error}") from error
    if grammar.type == "json_schema" and isinstance(value, dict) and "schema" in value:
        value = value["schema"]
    if not isinstance(value, dict):
        raise ValidationError(f"grammar is not supported: {grammar.type} needs a JSON schema as its `value`")
    if "properties" not in value:
        raise ValidationError("grammar is not valid: Grammar must have a 'properties' field")
    return value
