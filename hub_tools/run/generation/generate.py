"""Rows to answers to rows: asks an endpoint for every row, journals each answer, and gives the rows back in
order.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import math
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Generator as Steps
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any, NamedTuple

from hub_tools.endpoints.client import EndpointClient
from hub_tools.endpoints.failures import EndpointError, Refused
from hub_tools.endpoints.pool import Pool
from hub_tools.endpoints.replica import Replica
from hub_tools.endpoints.wire import ChatRequest, Completion, Info
from hub_tools.errors import BackforthError
from hub_tools.recipe import StopWhen
from hub_tools.records import Generation, Messages, Rejected, Row
from hub_tools.run.generation.journal import Journal
from hub_tools.run.generation.mark import Mark
from hub_tools.run.generation.watch import Watch
from hub_tools.stages.registry import Answer, Ask, AskConfig, Reject, Tick, rejected

UNANSWERED = ("refused", "too_long", "failed")  # what the journal may hold in place of an answer
ASKED_AGAIN = ("too_long", "failed")  # by the next run, since the endpoint may have changed
BREATH = 64  # rows that are looked up in the journal at once, and read before anything else gets its turn
COLLECTED_AFTER = (50_000, 20, 100)  # new objects, and what the older generations make of that


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Who is asked: the addresses of its replicas, the name to ask it by, and the model that this name stands
    for; `check` raises EndpointDown for a replica that serves another.
    """

    urls: Sequence[str]
    name: str
    model: str
    sha: str
    kind: str
    timeout: float
    tries: int
    patience: float
    concurrency: int | None = None
    token: str | None = None
    stop_when: StopWhen = field(default_factory=StopWhen)
    check: Callable[[Info], None] = lambda _: None

    def pool(self) -> Pool:
        """Return the pool of its replicas."""
        clients = [EndpointClient(url, self.token, self.timeout) for url in self.urls]
        return Pool(clients, self.check, tries=self.tries, patience=self.patience, most=self.concurrency)


@dataclass(slots=True)
class Spent:
    """What the answers cost that a node's rows are made of."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def count(self, entry: Mapping[str, Any]) -> None:
        """Add one answer of the journal."""
        self.requests += 1
        self.prompt_tokens += entry.get("prompt_tokens", 0)
        self.completion_tokens += entry.get("completion_tokens", 0)


class Settled(NamedTuple):
    """A row's outcome, and the last answer about it."""

    outcome: Row | Rejected
    said: str = ""


class Open(NamedTuple):
    """A request that is to be sent, and its key in the journal."""

    request: ChatRequest
    key: bytes


Talk = Steps[ChatRequest, Mapping[str, Any] | None, Settled]


@dataclass(slots=True)
class Generator:
    """Runs one asking stage: `ask_all` fills the journal, `outcomes` reads the rows out of it in input
    order.
    """

    stage: str
    seed: int
    config: AskConfig
    ask: Ask[Any, Any]
    asked: Asked
    journal: Journal
    spent: Spent = field(default_factory=Spent)

    async def ask_all(self, rows: Iterable[Row], tick: Tick, mark: Mark | None = None) -> None:
        """Get every row to its last answer, with as many in flight as the endpoint takes, and few more in
        memory. With a mark, `rows` are those that it leaves, in its order.

        Raises:
            BackforthError: the endpoint is down, too many rows go wrong, or the journal cannot be written.
                What was answered stays, and what is in flight still gets its answer.
        """
        watch = Watch(self.stage, self.asked.stop_when)

        async def settle(position: int, talk: Talk, found: Open | Settled) -> None:
            try:
                while isinstance(found, Open):
                    found = self._follow(talk, found, await self._entry(*found, pool))
                tick(1, rejected=isinstance(found.outcome, Rejected))
                if mark:
                    mark.settle(position, final=not _asked_again(found.outcome))
                watch.row(*found)
                watch.endpoint(pool)
            except BackforthError as error:
                pool.stop(error)

        async with collected_seldom(), self.asked.pool() as pool, asyncio.TaskGroup() as crew:
            positions = mark.positions() if mark else count()
            begun = zip(positions, self._begun(rows, Spent(), not_final=ASKED_AGAIN), strict=False)
            for number, (position, (_, talk, found)) in enumerate(begun):
                if isinstance(found, Open):
                    crew.create_task(settle(position, talk, found))
                    await pool.hungry()
                else:
                    await settle(position, talk, found)
                if number % BREATH == 0:
                    await asyncio.sleep(0)
                if pool.stopped:
                    break
        if mark:
            mark.save()
        if pool.stopped:
            raise pool.stopped

    def outcomes(self, rows: Iterable[Row]) -> Iterator[Row | Rejected]:
        """Yield each row's outcome, in order, from the journal alone."""
        for row, _, found in self._begun(rows, self.spent):
            if isinstance(found, Open):
                raise BackforthError(f"the journal lost the answer for row {row.id}; run again")
            yield found.outcome

    def _begun(
        self, rows: Iterable[Row], spent: Spent, not_final: Sequence[str] = ()
    ) -> Iterator[tuple[Row, Talk, Open | Settled]]:
        """Begin each row's talk, and lead it as far as the journal knows, which is asked of many at once."""
        rows = iter(rows)
        while group := list(islice(rows, BREATH)):
            talks = [self._talk(row, spent) for row in group]
            first = [self._open(next(talk)) for talk in talks]
            known = self.journal.get([asked.key for asked in first])
            for row, talk, asked in zip(group, talks, first, strict=True):
                yield row, talk, self._follow(talk, asked, known.get(asked.key), not_final)

    def _follow(
        self, talk: Talk, asked: Open, entry: Mapping[str, Any] | None, not_final: Sequence[str] = ()
    ) -> Open | Settled:
        """Lead a talk on through all that is known: to its end, or to a request to send."""
        try:
            while entry is not None and entry.keys().isdisjoint(not_final):
                asked = self._open(talk.send(entry))
                entry = self.journal.get([asked.key]).get(asked.key)
        except StopIteration as end:
            settled: Settled = end.value
            return settled
        return asked

    def _open(self, request: ChatRequest) -> Open:
        return Open(request, request.key(self.asked.sha))

    def _talk(self, row: Row, spent: Spent) -> Talk:
        """Yield the requests that a row needs, take in what came of each, and return the row's outcome.

        A reject is asked again with another seed, as often as the stage says; one that was cut off is first
        asked again with more room, once. A refusal is final.
        """
        messages, room = self.ask.prompt(row), self.config.max_new_tokens
        attempt, cut_off = 0, None
        while True:
            request = self._request(row, messages, attempt, room)
            entry = yield request
            assert entry is not None, "only a talk's first step takes nothing"
            spent.count(entry)
            for reason in UNANSWERED:
                if reason in entry:
                    return Settled(rejected(row, cut_off or Reject(reason, entry[reason])))
            completion = Completion(**entry)
            result = self._parse(completion, request, row)
            if not isinstance(result, Reject):
                return Settled(result, completion.text)
            if completion.finish_reason == "length" and self.config.more_room > 1:
                if cut_off:
                    return Settled(rejected(row, result), completion.text)
                cut_off, room = result, math.ceil(room * self.config.more_room)
                continue
            attempt += 1
            if attempt == self.config.attempts:
                return Settled(rejected(row, result), completion.text)

    def _request(self, row: Row, messages: Messages, attempt: int, room: int) -> ChatRequest:
        return ChatRequest(
            model=self.asked.name,
            messages=messages,
            max_tokens=room,
            temperature=self.config.temperature,
            top_p=self.config.top_p,
            seed=request_seed(self.seed, self.stage, row.id, attempt),
            stop=self.config.stop,
            extra=self.ask.request,
        )

    async def _entry(self, request: ChatRequest, key: bytes, pool: Pool) -> Mapping[str, Any]:
        """Send a request until it is answered or beyond hope, and journal what came of it."""

        async def job(replica: Replica) -> Mapping[str, Any]:
            entry = await _sent(request, replica)
            await self.journal.put(key, entry)
            return entry

        try:
            return await pool.run(job)
        except EndpointError as error:
            entry = {"failed": str(error)}
            await self.journal.put(key, entry)
            return entry

    def _parse(self, completion: Completion, request: ChatRequest, row: Row) -> Row | Reject:
        generation = self._generation(completion, request)
        answer = Answer(text=completion.text, generation=generation, tokens=completion.tokens)
        result: Row | Reject = self.ask.parse(answer, row)
        return result

    def _generation(self, completion: Completion, request: ChatRequest) -> Generation:
        prompt = "\0".join(f"{message['role']}\0{message['content']}" for message in request.messages)
        return Generation(
            model=self.asked.model,
            model_sha=self.asked.sha,
            endpoint=self.asked.kind,
            temperature=request.temperature,
            top_p=request.top_p,
            seed=request.seed,
            finish_reason=completion.finish_reason,
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
            prompt_sha256=hashlib.sha256(prompt.encode()).hexdigest(),
        )


@asynccontextmanager
async def collected_seldom() -> AsyncIterator[None]:
    """Let the cyclic collector look seldom: hundreds of rows in flight are many objects that all end by
    themselves, and looking through them again and again costs a fifth of the CPU time.
    """
    before = gc.get_threshold()
    gc.set_threshold(*COLLECTED_AFTER)
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)


async def _sent(request: ChatRequest, replica: Replica) -> Mapping[str, Any]:
    """Return the journal's entry for a request: the answer, or why there is none."""
    excess = await replica.too_long(request)
    if excess:
        return {"too_long": excess}
    try:
        return (await replica.ask(request)).entry()
    except Refused as refusal:
        return {"refused": str(refusal)}


def request_seed(run_seed: int, stage: str, row_id: str, attempt: int) -> int:
    """Derive a request's seed, 0 to 2^31 - 1: the same question is sampled the same way in every run."""
    digest = hashlib.sha256(f"{run_seed}\0{stage}\0{row_id}\0{attempt}".encode()).digest()
    return int.from_bytes(digest[:4]) >> 1


def _asked_again(outcome: Row | Rejected) -> bool:
    """Whether the next run asks again about a row."""
    return isinstance(outcome, Rejected) and outcome.reason in ASKED_AGAIN
