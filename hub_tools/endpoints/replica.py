"""One server of a pool: its client, its places, and whether it is to be trusted just now."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

from hub_tools.endpoints.client import EndpointClient
from hub_tools.endpoints.failures import (
    Dropped,
    EndpointError,
    Overloaded,
    Refused,
    TimedOut,
    Unavailable,
    Unreachable,
    WrongModel,
)
from hub_tools.endpoints.limit import Limit
from hub_tools.endpoints.wire import Completion, Info, Request
from hub_tools.errors import EndpointDown

MEMORY = 8  # answers over which a server's trouble is averaged
TEMPLATE = 256  # tokens that a chat template may add
NEARLY = 0.9  # of its places are in use: the server counts as full
FIRST_REST, LONGEST_REST = 0.5, 60.0  # seconds
LONGEST_WANTED = 300.0  # seconds that a server may ask to be left alone


class Replica:
    """Answers requests through its client, and learns from each how many more it can take.

    It is open from `meet` on until most of its last answers were failures; then it rests, is asked for its
    health, and has one place until it has answered again.
    """

    def __init__(self, client: EndpointClient) -> None:
        self.client = client
        self.info: Info | None = None
        self.open = False
        self.in_flight = 0
        self.reason = "not asked yet"
        self._limit = Limit(None)
        self._trouble = 0.0
        self._rests = 0
        self._check: Callable[[Info], None] = lambda _: None
        self._doubted = False  # whether somebody else may answer at the address by now
        self._names: set[str | None] = set()
        self._looking = asyncio.Lock()

    @property
    def places(self) -> int:
        """How many requests it may have now."""
        return 0 if not self.open else 1 if self._rests else self._limit.places

    @property
    def free(self) -> int:
        """How many more it may get now."""
        return self.places - self.in_flight

    @property
    def load(self) -> float:
        """The share of its places in use."""
        return self.in_flight / max(1, self.places)

    async def meet(self, check: Callable[[Info], None]) -> None:
        """Open it, if it is well and serves what it should.

        Raises:
            EndpointDown: it does not; a WrongModel if `check` says so.
        """
        self._check = check
        try:
            await self._look()
            if not await self.client.healthy():
                raise EndpointDown(f"{self.client.url} says that it is not healthy")
        except EndpointDown as error:
            self.reason = str(error)
            raise
        self.open = True

    async def _look(self) -> None:
        info = await self.client.info()
        try:
            self._check(info)
        except WrongModel as error:
            raise WrongModel(f"{self.client.url} {error}") from error
        if info != self.info:
            self.info, self._limit = info, Limit(info.max_concurrent_requests)
        self._doubted = False

    async def ask(self, request: Request) -> Completion:
        """Send a request; see `EndpointClient.ask` for what it raises."""
        began, full = time.monotonic(), self.in_flight >= NEARLY * self.places
        try:
            completion, queued, model = await self.client.ask(request)
        except Refused:
            await self._know(None)
            self._well()
            raise
        except TimedOut:
            self._limit.timed_out(self.in_flight, full)
            raise
        await self._know(model)
        self._well()
        self._limit.answered(time.monotonic() - began, queued, self.in_flight, full)
        return completion

    async def _know(self, model: str | None) -> None:
        """Make sure that an answer came from the right model: after a restart it may be another.

        Raises:
            Unreachable: it did not, or the server does not say.
        """
        if self._trusts(model):
            return
        async with self._looking:
            if self._trusts(model):
                return
            try:
                await self._look()
            except EndpointDown as error:
                self._doubted = True
                raise Unreachable(str(error)) from error
            self._names.add(model)

    def _trusts(self, model: str | None) -> bool:
        if not self._names:
            self._names.add(model)
        return not self._doubted and (model is None or model in self._names)

    async def too_long(self, request: Request) -> str | None:
        """Say why a prompt cannot fit, if so: by the server's own count, else by its words, since a token
        spans no two. One with fewer bytes than there is room for tokens needs no counting.
        """
        room = self.info.longest_prompt(request.max_tokens) if self.info else None
        if room is None or len(request.text.encode("utf-8", "replace")) + TEMPLATE <= room:
            return None
        tokens = await self.client.count(request) or len(request.text.split())
        if tokens <= room:
            return None
        return f"{tokens} tokens, and there is room for {max(0, room)} beside {request.max_tokens} of answer"

    def failed(self, error: EndpointError) -> bool:
        """Count a failure; whether the replica had better rest now."""
        self._doubted |= isinstance(error, Dropped | Unavailable)
        if isinstance(error, Overloaded):
            self._limit.turned_away()
            if self.in_flight > 1:  # it works on others: it lacks places, not health
                return False
        weight = 2 if error.retry_after else 1
        self._trouble += (1 - self._trouble) * weight / MEMORY
        hopeless = isinstance(error, Unreachable) or self._trouble > 1 / 2 or self._rests > 0
        return self.open and hopeless

    def rest(self, error: EndpointError) -> float:
        """Close it, and return for how many seconds: what the server asks for, else longer each time."""
        self.open, self.reason = False, str(error)
        self._rests += 1
        seconds = error.retry_after or min(FIRST_REST * 2.0 ** min(self._rests, 10), LONGEST_REST)
        return min(seconds, LONGEST_WANTED) * random.uniform(1.0, 1.2)

    def _well(self) -> None:
        self._trouble *= 1 - 1 / MEMORY
        self._rests = 0
