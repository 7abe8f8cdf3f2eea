"""How many requests one server gets at once, found from its own answers: no number to tune by hand."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

FIRST = 16  # places at a server that does not say how many it has
AT_ONCE = 128  # places, at most, at one that does, until it has shown that it works on so many
WINDOW, LONGEST_WINDOW = 64, 512  # answers, at least, before anything is concluded from them
PRECISE = 0.08  # the standard error of their mean time, as a share of it, that is small enough to conclude
HEADROOM = 1.1  # a tenth more than the server works on, so that it never runs dry
TOLD, GUESSED = 0.1, 1 / 3  # the share of waiting that is let pass: answers differ in length, too
NONE = 0.02  # the share of waiting below which a server that tells of it has room for many more
STEP = 1.9  # a smaller change of the limit cannot be told from chance in its effect
FOLLOWS = 0.25  # of proportion: what throughput must do to count as moved by the limit
LEAST = 1 / 2  # of the places stays where the server does not tell: a wrong guess must cost little
GIVEN_BACK = 1 / 20  # of a place that a 429 took away, for each answer
TIMED_OUT = 1 / 5  # of what was asked for, or more: the server has too much to do
INSTANT = 1e-9  # seconds


@dataclass(slots=True)
class Window:
    """What came of requests since it was opened (monotonic seconds).

    `work` is the time that requests were there, those that have no answer yet included: a mean over answers
    alone would leave out the slow ones. `queued` is None where the server does not tell of its queue.
    """

    opened: float
    last: float
    answers: int = 0
    full: int = 0
    timeouts: int = 0
    seconds: float = 0.0
    squares: float = 0.0
    work: float = 0.0
    queued: float | None = 0.0

    def pass_time(self, there: int) -> None:
        """Let so many requests have been there since it was last asked."""
        now = time.monotonic()
        self.work += there * (now - self.last)
        self.last = now

    def answered(self, seconds: float, queued: float | None, full: bool) -> None:
        """Count an answer."""
        self.answers += 1
        self.full += full
        self.seconds += seconds
        self.squares += seconds**2
        self.queued = None if queued is None or self.queued is None else self.queued + min(queued, seconds)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answers / max(self.last - self.opened, INSTANT)

    @property
    def precise(self) -> bool:
        """Whether the mean time of an answer is known well enough, or will not be soon."""
        scatter = self.squares * self.answers / max(self.seconds**2, INSTANT) - 1
        return scatter <= PRECISE**2 * self.answers or self.answers >= LONGEST_WINDOW


def _open() -> Window:
    now = time.monotonic()
    return Window(now, now)


class Limit:
    """A number of places that follows what the server can work on.

    Three things move it. A 429 takes one place away and an answer gives a twentieth of one back, and more
    after more answers without a 429: so it settles where at most one request in twenty is turned away. Where
    many time out, it is halved. And once a window, by Little's law: of `n` requests that spend the share `w`
    of their time waiting, the server works on `n (1 - w)`; that is how many it gets, and a tenth more.
    Waiting that does not come from too many requests (throughput followed when their number changed) does not
    count.
    """

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._places = float(min(most, AT_ONCE) if most else FIRST)
        self._away = 0.0
        self._calm = 0  # answers since the last 429
        self._doubling = most is None or most > AT_ONCE
        self._shrinking = False
        self._judged: tuple[float, float] | None = None  # places and answers a second when last compared
        self._own = 0.0  # the share of waiting, as told, that has other reasons
        self._best = math.inf  # seconds an answer takes when nothing waits, where the server does not tell
        self._skipped = int(self._places)  # outcomes that tell of the time before
        self._window = _open()

    @property
    def places(self) -> int:
        """How many requests may be there now."""
        return max(1, int(self._places - self._away))

    def turned_away(self) -> None:
        """Take a place away: the server said 429."""
        self._away = min(self._away + 1, self._places - 1)
        self._calm = 0

    def timed_out(self, there: int, full: bool) -> None:
        """Count a request that got no answer in time, while so many were there."""
        if not self._counts(there) or not full:
            return
        window = self._window
        window.timeouts += 1
        asked = max(window.timeouts + window.answers, self._places)
        if window.timeouts > 1 and window.timeouts >= TIMED_OUT * asked:
            self._doubling = False
            self._set(self._places / 2)

    def answered(self, seconds: float, queued: float | None, there: int, full: bool) -> None:
        """Count an answer: how long it took, how long of that it waited, and how many requests were there.

        `full` says whether nearly every place was in use: a server that is not tells nothing of its limit.
        """
        self._calm += 1
        self._away = max(0.0, self._away - GIVEN_BACK * max(1.0, GIVEN_BACK * self._calm))
        if not self._counts(there):
            return
        window = self._window
        window.answered(seconds, queued, full)
        if window.answers >= max(WINDOW, self._places) and window.precise:
            if window.full > window.answers / 2:
                self._move(window)
            self._window = _open()

    def _counts(self, there: int) -> bool:
        """Whether this outcome is of the window, which begins when what was in flight before has ended."""
        if not self._skipped:
            self._window.pass_time(there)
            return True
        self._skipped -= 1
        self._window = _open()
        return False

    def _set(self, wanted: float) -> None:
        self._skipped = int(self._places)
        self._places = min(max(1.0, wanted), self._most or math.inf)

    def _move(self, window: Window) -> None:
        before = self._followed(window.rate)
        waits = self._waits(window, anew=before is not None)
        too_many = waits - self._own
        if too_many > (GUESSED if window.queued is None else TOLD):
            if not self._shrinking:
                self._judged = (self._places, window.rate)
            self._shrinking, self._doubling = True, False
            least = LEAST if window.queued is None else 0.0
            self._set(self._places * max(least, (1 - too_many) * HEADROOM))
            return
        idle = self._doubling or (window.queued is not None and waits < NONE)
        wanted = max(self._places + 1, self._places * (2 if idle else HEADROOM))
        if self._shrinking and before:  # fewer requests only brought fewer answers
            wanted = max(wanted, before)
        self._shrinking = False
        if self._away < 1:  # else it turns requests away, and that tells where its limit is
            self._set(wanted)

    def _waits(self, window: Window, anew: bool) -> float:
        """Return the share of an answer's time that it waited: as told, else against the best time seen.

        `anew` says that all of it has other reasons than the limit.
        """
        work = max(window.work, INSTANT)
        if window.queued is not None:
            waits = min(1.0, window.queued / work)
            self._own = waits if anew else min(self._own, waits)
            return waits
        mean = work / window.answers
        self._best = mean if anew else min(self._best, mean)
        return 1 - self._best / mean

    def _followed(self, rate: float) -> float | None:
        """Return the limit before, if throughput moved with it since they were last compared: then the server
        was not full.
        """
        places, before = self._judged or (self._places, rate)
        change = math.log(self._places / places)
        if self._judged and abs(change) < math.log(STEP):
            return None
        self._judged = (self._places, rate)
        return places if change and math.log(rate / before) / change > FOLLOWS else None
