"""Compiles grammars for one tokenizer, in child processes within limits, and keeps the last few."""

from __future__ import annotations

import asyncio
import pickle
import sys
from asyncio.subprocess import PIPE, Process
from collections import OrderedDict
from pathlib import Path
from typing import Any

import hub_tools
from hub_tools.endpoints.server.errors import ValidationError
from hub_tools.endpoints.server.grammar import CompiledGrammar
from hub_tools.endpoints.server.jobs import GrammarSource
from hub_tools.endpoints.server.vocabulary import token_bytes

LONGEST_SECONDS = 30.0
_CACHED = 8  # a grammar with a few hundred repeats holds some 60 MB
_BUILDER = "hub_tools.endpoints.server.grammar_build"


class GrammarCompiler:
    """Compiles one grammar at a time; requests with the same grammar wait for one compilation."""

    def __init__(self, tokenizer: Any, eos_id: int) -> None:
        self._eos_id = eos_id
        self._tokens = token_bytes(tokenizer)
        # A refusal is kept like a grammar: asking again would cost as much again.
        self._outcomes: OrderedDict[GrammarSource, CompiledGrammar | str] = OrderedDict()
        self._turn = asyncio.Lock()

    async def compile(self, source: GrammarSource) -> CompiledGrammar:
        """The compiled grammar; raises `ValidationError` if it is not valid or too large."""
        async with self._turn:
            if source not in self._outcomes:
                self._outcomes[source] = await self._build(source)
                if len(self._outcomes) > _CACHED:
                    self._outcomes.popitem(last=False)
            self._outcomes.move_to_end(source)
            outcome = self._outcomes[source]
        if isinstance(outcome, str):
            raise ValidationError(outcome)
        return outcome

    async def _build(self, source: GrammarSource) -> CompiledGrammar | str:
        question = await asyncio.to_thread(
            pickle.dumps, (source.kind, source.text, self._eos_id, self._tokens)
        )
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", _BUILDER),
            stdin=PIPE,
            stdout=PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={"PYTHONPATH": str(Path(hub_tools.__file__).parents[1])},
        )
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                answer, _ = await child.communicate(question)
        except TimeoutError:
            return _too_large(f"takes longer than {LONGEST_SECONDS:g} s to compile")
        finally:
            await _end(child)  # also when the client has gone meanwhile
        if child.returncode != 0:
            return _too_large("needs too much memory to compile")
        built = await asyncio.to_thread(pickle.loads, answer)
        return built if isinstance(built, str) else CompiledGrammar(built, self._eos_id)


async def _end(child: Process) -> None:
    if child.returncode is None:
        child.kill()
        await child.wait()


def _too_large(what: str) -> str:
    return f"grammar is not valid: it {what}; use fewer or shorter bounded repeats"
