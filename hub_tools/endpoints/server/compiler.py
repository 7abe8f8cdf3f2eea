"""Compiles grammars for one tokenizer, off the event loop and within limits, and keeps the last few."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import hub_tools
from hub_tools.endpoints.server.errors import ValidationError
from hub_tools.endpoints.server.grammar import CompiledGrammar
from hub_tools.endpoints.server.vocabulary import token_bytes

LONGEST_SECONDS = 60.0
_CACHED = 8  # a grammar with a few hundred repeats holds some 60 MB
_BUILDER = "hub_tools.endpoints.server.grammar_build"


class GrammarCompiler:
    """Not for several threads at once: requests with the same grammar wait for one compilation."""

    def __init__(self, tokenizer: Any, eos_id: int) -> None:
        self._eos_id = eos_id
        self._tokens = token_bytes(tokenizer)
        self._compiled: OrderedDict[str, CompiledGrammar] = OrderedDict()

    def compile(self, regex: str) -> CompiledGrammar:
        """The compiled expression; raises `ValidationError` if it is not valid or too large."""
        if regex not in self._compiled:
            self._compiled[regex] = CompiledGrammar(self._build(regex), self._eos_id)
            if len(self._compiled) > _CACHED:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(regex)
        return self._compiled[regex]

    def _build(self, regex: str) -> Any:
        package = str(Path(hub_tools.__file__).parents[1])
        try:
            done = subprocess.run(
                [sys.executable, "-m", _BUILDER],
                input=pickle.dumps((regex, self._eos_id, self._tokens)),
                capture_output=True,
                check=True,
                timeout=LONGEST_SECONDS,
                env={"PYTHONPATH": package},
            )
        except subprocess.TimeoutExpired as error:
            raise _too_large(f"takes longer than {LONGEST_SECONDS:g} s to compile") from error
        except subprocess.CalledProcessError as error:
            raise _too_large("needs too much memory to compile") from error
        result = pickle.loads(done.stdout)  # noqa: S301 - our own child wrote it
        if isinstance(result, str):
            raise ValidationError(f"grammar is not valid: {result}")
        return result


def _too_large(what: str) -> ValidationError:
    return ValidationError(f"grammar is not valid: it {what}; use fewer or shorter bounded repeats")
