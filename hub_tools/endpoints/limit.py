"""How many requests one server gets at once, found from its own answers: no number to tune by hand."""

from __future__ import annotations

import math
import time

FIRST = 16  # places at a server that does not say how many it has
WINDOW = 64  # answers, at least, before anything is concluded from them
HEADROOM = 1.1  # a tenth more than the server works on, so that it never runs dry
TOLD, GUESSED = 0.1, 1 / 3  # the share of waiting that is let pass: answers differ in length, too
STEP = 1.25  # a smaller change of the limit cannot be told from chance in its effect
FOLLOWS = 0.4  # of proportion: what throughput must do to count as moved by the limit
GIVEN_BACK = 1 / 20  # of a place that a 429 took away, for each answer


class Limit:
    """A number of places that follows what the server can work on.

    Two things move it. A 429 takes one place away and an answer gives a twentieth of one back: so it settles
    where at most one request in twenty is turned away. And once a window, by Little's law: of `n` requests
    that spend the share `w` of their time waiting, the server works on `n (1 - w)`; that is how many it gets,
    and a tenth more. Waiting that does not come from too many requests (throughput followed when their number
    changed) does not count.
    """

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._places = float(most or FIRST)
        self._away = 0.0
        self._doubling = most is None
        self._judged: tuple[float, float] | None = None  # places and answers a second when last compared
        self._own = 0.0  # the share of waiting that has other reasons
        self._best = math.inf  # seconds an answer takes when nothing waits, where the server does not tell
        self._opened = time.monotonic()
        self._answers = 0
        self._seconds = 0.0
        self._queued: float | None = 0.0  # seconds; None where the server does not tell

    @property
    def places(self) -> int:
        """How many requests may be there now."""
        return max(1, int(self._places - self._away))

    def turned_away(self) -> None:
        """Take a place away: the server said 429."""
        self._away = min(self._away + 1, self._places - 1)

    def answered(self, began: float, queued: float | None, full: bool) -> None:
        """Count an answer: when (monotonic) it was asked for, and for how long of that it waited; `full` says
        whether nearly every place was in use, since a server that is not full tells nothing about its limit.
        """
        self._away = max(0.0, self._away - GIVEN_BACK)
        if not full or began < self._opened:  # an older one tells of the limit before
            return
        self._answers += 1
        self._seconds += time.monotonic() - began
        self._queued = None if queued is None or self._queued is None else self._queued + queued
        if self._answers >= max(WINDOW, self._places):
            self._move()
            self._open_window()

    def _open_window(self) -> None:
        self._opened = time.monotonic()
        self._answers = 0
        self._seconds = self._queued = 0.0

    def _move(self) -> None:
        waits = self._waits()
        self._own = waits if self._followed() else min(self._own, waits)
        too_many = waits - self._own
        if too_many > (GUESSED if self._queued is None else TOLD):
            self._doubling = False
            wanted = max(1.0, self._places * (1 - too_many) * HEADROOM)
        else:
            wanted = max(self._places + 1, self._places * (2 if self._doubling else HEADROOM))
        self._places = min(wanted, self._most or math.inf)

    def _waits(self) -> float:
        """Return the share of an answer's time that it waited: as told, else against the best time seen."""
        if self._queued is not None:
            return min(1.0, self._queued / self._seconds)
        mean = self._seconds / self._answers
        self._best = min(self._best, mean)
        return 1 - self._best / mean

    def _followed(self) -> bool:
        """Whether throughput moved with the limit since they were last compared: the server was not full."""
        rate = self._places * self._answers / self._seconds  # Little's law again
        places, before = self._judged or (self._places, rate)
        change = math.log(self._places / places)
        if self._judged and abs(change) < math.log(STEP):
            return False
        self._judged = (self._places, rate)
        return change != 0 and math.log(rate / before) / change > FOLLOWS
