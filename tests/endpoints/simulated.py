"""A pool against simulated servers in simulated time: hours of a run in a second, and the same every time."""

from __future__ import annotations

import asyncio
import random
import selectors
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from hub_tools.endpoints import limit, pool, replica
from hub_tools.endpoints.client import EndpointClient
from hub_tools.endpoints.failures import EndpointError, Overloaded, TimedOut
from hub_tools.endpoints.wire import Completion, Info, Reply
from hub_tools.errors import BackforthError

ANSWER = Completion(text="x", finish_reason="stop", prompt_tokens=1, completion_tokens=1)


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next thing that happens."""

    def __init__(self) -> None:
        super().__init__(_Selector(self))
        self.now = 0.0

    def time(self) -> float:
        return self.now


class _Selector(selectors.SelectSelector):
    def __init__(self, loop: SimulatedLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "nothing will ever happen"
        self._loop.now += max(0.0, timeout)
        return []


@dataclass(eq=False)
class Simulated(EndpointClient):
    """A server with `slots(now)` at work at once, each for `seconds(chance, at work)`; the rest waits, or is
    turned away past `limit`. `told` is what `/info` says, `tells` whether the queue is told of.
    """

    slots: Callable[[float], int]
    seconds: Callable[[random.Random, int], float]
    limit: int | None = None
    told: int | None = None
    tells: bool = True
    timeout: float = 600.0
    fails: Callable[[float], EndpointError | None] = lambda now: None
    url: str = "simulated"
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    at_work: int = 0
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)
    sent: list[float] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)
    most: int = 0

    async def __aenter__(self) -> Simulated:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def info(self) -> Info:
        return Info(model_id="m", max_concurrent_requests=self.told)

    async def healthy(self) -> bool:
        return True

    async def ask(self, request: Any) -> Reply:
        loop = asyncio.get_running_loop()
        came = loop.time()
        self.sent.append(came)
        error = self.fails(came)
        if error or (self.limit and self.at_work + len(self.waiting) >= self.limit):
            raise error or Overloaded("full")
        try:
            async with asyncio.timeout(self.timeout):
                queued = await self._work(loop)
        except TimeoutError as late:
            raise TimedOut("no answer") from late
        self.answered.append(loop.time())
        return Reply(ANSWER, queued if self.tells else None)

    async def _work(self, loop: asyncio.AbstractEventLoop) -> float:
        came, turn = loop.time(), loop.create_future()
        self.waiting.append(turn)
        self.most = max(self.most, self.at_work + len(self.waiting))
        self._next()
        try:
            await turn
            began = loop.time()
            await asyncio.sleep(self.seconds(self.chance, self.at_work))
            return began - came
        finally:
            self.at_work -= turn.done() and not turn.cancelled()
            self._next()

    def _next(self) -> None:
        while self.waiting and self.at_work < self.slots(asyncio.get_running_loop().time()):
            turn = self.waiting.popleft()
            if not turn.done():
                self.at_work += 1
                turn.set_result(None)

    def rate(self, since: float, until: float) -> float:
        """Answers a second in a span of time."""
        return sum(since <= moment < until for moment in self.answered) / (until - since)


@contextmanager
def simulated_time() -> Iterator[SimulatedLoop]:
    """Let everything that an endpoint's pool measures be in simulated time, and by chance, but the same."""
    loop = SimulatedLoop()
    random.seed(0)
    clock = SimpleNamespace(monotonic=loop.time)
    with pytest.MonkeyPatch.context() as patch:
        for module in (limit, pool, replica):
            patch.setattr(module, "time", clock)
        yield loop
    loop.close()


def asked(servers: list[Simulated], requests: int, **settings: Any) -> int:
    """Send so many requests through a pool; return how many failed."""
    failed = 0

    async def main() -> None:
        async with pool.Pool(list(servers), **settings) as asking, asyncio.TaskGroup() as crew:

            async def one() -> None:
                nonlocal failed
                try:
                    await asking.run(lambda replica: replica.ask(SimpleNamespace()))  # type: ignore[arg-type]
                except (EndpointError, BackforthError):
                    failed += 1

            for _ in range(requests):
                crew.create_task(one())
                await asking.hungry()

    with simulated_time() as loop:
        loop.run_until_complete(main())
    return failed
