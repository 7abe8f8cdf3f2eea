"""Rows to answers to rows: asks an endpoint for every row, journals each answer, and gives the rows back in
order.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hub_tools.endpoints.client import EndpointClient
from hub_tools.endpoints.wire import ChatRequest, Completion, EndpointError, Overloaded, Refused
from hub_tools.errors import BackforthError, EndpointDown
from hub_tools.records import Generation, Rejected, Row
from hub_tools.run.journal import Journal
from hub_tools.stages.registry import Answer, Ask, AskConfig, Reject, Tick, rejected

LONGEST_PAUSE = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Who is asked: the server's address, the name to ask it by, and the model that this name stands for."""

    url: str
    name: str
    model: str
    sha: str
    kind: str
    concurrency: int
    timeout: float
    tries: int
    token: str | None = None


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

    async def ask_all(self, rows: Iterable[Row], tick: Tick) -> None:
        """Get every row to its last answer; stops at the first error that no retry mends.

        Raises:
            BackforthError: the endpoint is down, or the journal cannot be written. What was answered stays.
        """
        source = iter(rows)
        errors: list[BackforthError] = []
        async with EndpointClient(self.asked.url, self.asked.token, self.asked.timeout) as client:

            async def work() -> None:
                for row in source:
                    if errors:  # what is in flight elsewhere still gets its answer
                        return
                    try:
                        outcome = await self._settle(row, client)
                    except BackforthError as error:
                        errors.append(error)
                        return
                    tick(1, rejected=isinstance(outcome, Rejected))

            await asyncio.gather(*(work() for _ in range(self.asked.concurrency)))
        if errors:
            raise errors[0]

    def outcomes(self, rows: Iterable[Row]) -> Iterator[Row | Rejected]:
        """Yield each row's outcome, in order, from the journal alone."""
        for row in rows:
            found = self._read(row, self.spent)
            if isinstance(found, ChatRequest):
                raise BackforthError(f"the journal lost the answer for row {row.id}; run again")
            yield found

    async def _settle(self, row: Row, client: EndpointClient) -> Row | Rejected:
        """Ask until the journal holds what the row's outcome needs."""
        while isinstance(found := self._read(row, Spent()), ChatRequest):
            await self.journal.put(found.key(self.asked.sha), await self._ask(found, client))
        return found

    def _read(self, row: Row, spent: Spent) -> Row | Rejected | ChatRequest:
        """Return the row's outcome as the journal has it, or the request that is still to be asked.

        A reject is asked again with another seed, as often as the stage says; a refusal is final.
        """
        result: Row | Reject = Reject("not_asked")
        for attempt in range(self.config.attempts):
            request = self._request(row, attempt)
            entry = self.journal.get(request.key(self.asked.sha))
            if entry is None:
                return request
            spent.count(entry)
            result = self._parse(entry, request, row)
            if not isinstance(result, Reject) or "refused" in entry:
                break
        return rejected(row, result) if isinstance(result, Reject) else result

    def _request(self, row: Row, attempt: int) -> ChatRequest:
        return ChatRequest(
            model=self.asked.name,
            messages=self.ask.prompt(row),
            max_tokens=self.config.max_new_tokens,
            temperature=self.config.temperature,
            top_p=self.config.top_p,
            seed=request_seed(self.seed, self.stage, row.id, attempt),
            extra=self.ask.request,
        )

    async def _ask(self, request: ChatRequest, client: EndpointClient) -> dict[str, Any]:
        """Send a request until it is answered or refused; errors that may pass are waited out."""
        error: EndpointError | None = None
        for tried in range(self.asked.tries):
            try:
                return dataclasses.asdict(await client.chat(request))
            except Refused as refusal:
                return {"refused": str(refusal)}
            except EndpointError as passing:
                error = passing
                await asyncio.sleep(_pause(passing, tried))
        raise EndpointDown(
            f"{self.asked.url} failed {self.asked.tries} times in a row, last with: {error}; "
            f"finished answers are kept, run again to go on"
        )

    def _parse(self, entry: dict[str, Any], request: ChatRequest, row: Row) -> Row | Reject:
        if "refused" in entry:
            return Reject("refused", entry["refused"])
        completion = Completion(**entry)
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


def request_seed(run_seed: int, stage: str, row_id: str, attempt: int) -> int:
    """Derive a request's seed, 0 to 2^31 - 1: the same question is sampled the same way in every run."""
    digest = hashlib.sha256(f"{run_seed}\0{stage}\0{row_id}\0{attempt}".encode()).digest()
    return int.from_bytes(digest[:4]) >> 1


def _pause(error: EndpointError, tried: int) -> float:
    if isinstance(error, Overloaded) and error.retry_after is not None:
        return min(LONGEST_PAUSE, error.retry_after) * random.uniform(1.0, 1.2)
    return min(LONGEST_PAUSE, 0.5 * 2.0**tried) * random.uniform(0.5, 1.0)
