"""Compiles grammars for one tokenizer, in child processes within limits, and keeps the last ones."""

from __future__ import annotations

import asyncio
import pickle
import sys
from asyncio.subprocess import PIPE, Process
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import hub_tools
from hub_tools.endpoints.server.errors import ValidationError
from hub_tools.endpoints.server.grammar import CompiledGrammar, GrammarSource
from hub_tools.endpoints.server.vocabulary import token_bytes

LONGEST_SECONDS = 30.0
LARGEST_CACHE = 500_000_000  # bytes; a grammar with a few hundred repeats holds some 60 MB, most hold 1
_BUILDERS = 2  # one grammar that is slow to compile does not hold up the others
_LEAST = 1_000_000  # what the smallest counts for
_BUILDER = "hub_tools.endpoints.server.grammar_build"


@dataclass(frozen=True)
class _Built:
    """A grammar or the reason why it is none, which took as long to find; `size` is about what it holds."""

    outcome: CompiledGrammar | str
    size: int = _LEAST


class GrammarCompiler:
    """Compiles few grammars at a time; requests with the same grammar wait for one compilation."""

    def __init__(self, tokenizer: Any, eos_id: int | None) -> None:
        self._eos_id = eos_id
        self._tokens = token_bytes(tokenizer)
        self._kept: OrderedDict[GrammarSource, _Built] = OrderedDict()
        self._turns: WeakValueDictionary[GrammarSource, asyncio.Lock] = WeakValueDictionary()
        self._builders = asyncio.Semaphore(_BUILDERS)

    async def compile(self, source: GrammarSource) -> CompiledGrammar:
        """The compiled grammar; raises `ValidationError` for one that is wrong, too large or endless."""
        if self._eos_id is None:
            raise ValidationError("grammar is not supported: the model has no token that ends an answer")
        built = self._kept.get(source)
        if built is None:
            turn = self._turns.setdefault(source, asyncio.Lock())
            async with turn, self._builders:
                built = self._kept.get(source) or await self._build(source, self._eos_id)
        self._keep(source, built)
        if isinstance(built.outcome, str):
            raise ValidationError(built.outcome)
        return built.outcome

    def _keep(self, source: GrammarSource, built: _Built) -> None:
        """Put it last, and drop the first ones while all of them are too large."""
        self._kept[source] = built
        self._kept.move_to_end(source)
        while sum(each.size for each in self._kept.values()) > LARGEST_CACHE:
            self._kept.popitem(last=False)

    async def _build(self, source: GrammarSource, eos_id: int) -> _Built:
        question = await asyncio.to_thread(pickle.dumps, (source.kind, source.text, eos_id, self._tokens))
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
        outcome = built if isinstance(built, str) else CompiledGrammar(built, eos_id)
        return _Built(outcome, max(_LEAST, len(answer)))


async def _end(child: Process) -> None:
    if child.returncode is None:
        child.kill()
        await child.wait()


def _too_large(what: str) -> _Built:
    return _Built(f"grammar is not valid: it {what}; use fewer or shorter bounded repeats")
