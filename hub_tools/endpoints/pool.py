"""Many replicas of one model, asked as one: work goes where there is room, and away from what fails."""

from __future__ import annotations

import asyncio
import contextlib
import random
import resource
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

from hub_tools.endpoints.client import EndpointClient
from hub_tools.endpoints.failures import EndpointError, Overloaded, Unavailable, WrongModel
from hub_tools.endpoints.replica import LONGEST_REST, LONGEST_WANTED, Replica
from hub_tools.endpoints.wire import Info
from hub_tools.errors import BackforthError, EndpointDown

Result = TypeVar("Result")

LATE = 5.0  # seconds that the other replicas have to answer when the first has, before work begins
AHEAD = 16  # requests that wait for a place, so that none stands empty
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 30.0  # seconds before a request is sent again


@dataclass(frozen=True, slots=True)
class Waiter:
    """A request that waits for a place, and the replica that it would rather not meet again."""

    place: asyncio.Future[Replica]
    avoids: Replica | None


class Pool:
    """Use it as an async context manager; `run` asks, `hungry` paces whoever brings the work.

    `tries` is how often one request may fail in a way that may be its own fault; `patience` for how many
    seconds the pool goes on once no replica is left; `most` caps the requests in flight.
    """

    def __init__(
        self,
        clients: Sequence[EndpointClient],
        check: Callable[[Info], None] = lambda _: None,
        *,
        tries: int = 6,
        patience: float = 120.0,
        most: int | None = None,
    ) -> None:
        self.replicas = [Replica(client) for client in clients]
        self.answers = self.failures = 0
        self.last_failure = ""
        self._check = check
        self._tries = tries
        self._patience = patience
        self._most = most
        self._in_flight = 0
        self._fresh: deque[Waiter] = deque()
        self._again: deque[Waiter] = deque()
        self._hungry = asyncio.Event()
        self._silent_since: float | None = None
        self.stopped: BackforthError | None = None
        self._revivals: set[asyncio.Task[None]] = set()
        self._open = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Pool:
        _allow_connections()
        for replica in self.replicas:
            await self._open.enter_async_context(replica.client)
        try:
            await self._meet_all()
            if not any(replica.open for replica in self.replicas):
                raise EndpointDown("; ".join(replica.reason for replica in self.replicas))
        except EndpointDown:
            await self._open.aclose()
            raise
        for replica in self.replicas:
            if not replica.open:
                self._rest(replica, EndpointError(replica.reason))
        self._hungry.set()
        return self

    async def __aexit__(self, *_: object) -> None:
        for revival in self._revivals:
            revival.cancel()
        await self._open.aclose()

    async def hungry(self) -> None:
        """Return once there is room for more work, or the pool has given up."""
        await self._hungry.wait()

    def stop(self, error: BackforthError) -> None:
        """Give no more places out: who waits for one gets the error, who has one may end in peace."""
        self.stopped = self.stopped or error
        for waiter in (*self._again, *self._fresh):
            if not waiter.place.done():
                waiter.place.set_exception(self.stopped)
        self._again.clear()
        self._fresh.clear()
        self._hungry.set()

    async def run(self, job: Callable[[Replica], Awaitable[Result]]) -> Result:
        """Run a job with a place at some replica; if it fails in a way that may pass, again at another.

        The place stays the job's until it ends: what it does with an answer is done before the next is asked.

        Raises:
            EndpointError: it failed too often, while the pool has answered others.
            EndpointDown: no replica answers any more.
        """
        replica, failures = None, 0
        for tried in count():
            replica = await self._place(replica)
            try:
                result = await job(replica)
            except EndpointError as error:
                self._failed(replica, error)
                failures += not isinstance(error, Overloaded | Unavailable)
                if failures >= self._tries and self.answers:
                    raise
                if failures >= self._tries:
                    raise self._down(f"a request failed {failures} times, last with: {error}") from error
                pause = self._pause(replica, error, tried)
            else:
                self.answers += 1
                self._silent_since = None
                return result
            finally:
                self._release(replica)
            await asyncio.sleep(pause)
        raise AssertionError("count() has no end")

    async def _meet_all(self) -> None:
        """Meet every replica; once one is there, those that hang are left for later."""
        meetings = {asyncio.create_task(self._meet(replica)) for replica in self.replicas}
        left = meetings
        try:
            while left and not any(replica.open for replica in self.replicas):
                _, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            if left:
                await asyncio.wait(left, timeout=LATE)
            for meeting in meetings:
                if meeting.done():
                    meeting.result()
        finally:
            for meeting in meetings:
                meeting.cancel()

    async def _meet(self, replica: Replica) -> None:
        """Meet a replica, or leave it for later; one that serves another model is no matter of time."""
        try:
            await replica.meet(self._check)
        except WrongModel:
            raise
        except EndpointDown:
            pass

    async def _place(self, avoids: Replica | None) -> Replica:
        if self.stopped:
            raise self.stopped
        waiter = Waiter(asyncio.get_running_loop().create_future(), avoids)
        (self._again if avoids else self._fresh).append(waiter)
        if avoids or len(self._fresh) in (1, AHEAD):  # with some waiting already there is no free place
            self._hand_out()
        return await waiter.place

    def _release(self, replica: Replica) -> None:
        replica.in_flight -= 1
        self._in_flight -= 1
        if self._again or self._most is not None or not self._offer(replica):
            self._hand_out()
        else:
            self._mind_hunger()

    def _hand_out(self) -> None:
        """Give every free place to who waits for one: the least loaded first."""
        if self._fresh or self._again:
            for replica in sorted(self.replicas, key=lambda replica: replica.load):
                self._offer(replica)
        self._mind_hunger()

    def _offer(self, replica: Replica) -> bool:
        """Give the free places of one replica to who waits; whether there was any."""
        room = replica.free
        if self._most is not None:
            room = min(room, self._most - self._in_flight)
        offered = room > 0
        while room > 0 and (waiter := self._next(replica)):
            if not waiter.place.cancelled():
                replica.in_flight += 1
                self._in_flight += 1
                room -= 1
                waiter.place.set_result(replica)
        return offered

    def _mind_hunger(self) -> None:
        if len(self._fresh) < AHEAD or self.stopped:
            self._hungry.set()
        else:
            self._hungry.clear()

    def _next(self, replica: Replica) -> Waiter | None:
        """Take out who is next for a place there: what failed once goes first, and elsewhere if it can."""
        if not self._again:
            return self._fresh.popleft() if self._fresh else None
        others = [other for other in self.replicas if other.open and other is not replica]
        for waiter in self._again:
            if waiter.avoids is not replica or not others:
                self._again.remove(waiter)
                return waiter
        if self._fresh:
            return self._fresh.popleft()
        elsewhere = any(other.free > 0 for other in others)
        return self._again.popleft() if self._again and not elsewhere else None

    def _failed(self, replica: Replica, error: EndpointError) -> None:
        if not isinstance(error, Overloaded):
            self.failures, self.last_failure = self.failures + 1, str(error)
        if replica.failed(error):
            self._rest(replica, error)

    def _rest(self, replica: Replica, error: EndpointError) -> None:
        revival = asyncio.create_task(self._revive(replica, replica.rest(error)))
        self._revivals.add(revival)
        revival.add_done_callback(self._revivals.discard)
        self._mind_silence()

    async def _revive(self, replica: Replica, pause: float) -> None:
        while not replica.open:
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_REST)
            with contextlib.suppress(EndpointDown):
                await replica.meet(self._check)
            self._mind_silence()
        self._hand_out()

    def _mind_silence(self) -> None:
        """Give up if no replica is open, and there has been no answer for too long since that came to be."""
        if self.stopped or any(replica.open for replica in self.replicas):
            return
        self._silent_since = self._silent_since or time.monotonic()
        silent = time.monotonic() - self._silent_since
        if silent < self._patience:
            return
        self.stop(self._down(f"no answer for {silent:.0f} s"))

    def _down(self, what: str) -> EndpointDown:
        told = "; ".join(dict.fromkeys(replica.reason for replica in self.replicas if not replica.open))
        urls = ", ".join(replica.client.url for replica in self.replicas)
        return EndpointDown(
            f"{urls}: {what}{f' ({told})' if told else ''}; finished answers are kept, run again to go on"
        )

    def _pause(self, replica: Replica, error: EndpointError, tried: int) -> float:
        """Return how long a request waits before it is sent again: as the server says, if it is alone."""
        pause = min(FIRST_PAUSE * 2.0 ** min(tried, 10), LONGEST_PAUSE)
        if not any(other.open for other in self.replicas if other is not replica):
            pause = max(pause, min(error.retry_after or 0.0, LONGEST_WANTED))
        return pause * random.uniform(1.0, 1.2)


def _allow_connections() -> None:
    """Let the process hold as many connections as the system lets it: many systems begin at 1,024 files."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
