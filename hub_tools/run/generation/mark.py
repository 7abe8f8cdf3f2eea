"""How far a node's rows are settled, so that a resumed run need not look at each of a million again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain, count

from hub_tools.run.generation.journal import Journal

EVERY = 1000  # rows between two marks


class Mark:
    """Rows by position: all before `start` are settled but for those in `again`, which the next run asks.

    It goes by a node's fingerprint: with other settings the rows must be looked at anew. The journal writes
    it together with answers, and so never before the answers that it vouches for.
    """

    def __init__(self, journal: Journal, fingerprint: str) -> None:
        self._journal = journal
        self._name = fingerprint
        found = json.loads(journal.mark(fingerprint) or "{}")
        self.start: int = found.get("start", 0)
        self.again: list[int] = found.get("again", [])
        self._low = self._written = self.start
        self._ahead: set[int] = set()
        self._open = set(self.again)

    def positions(self) -> Iterator[int]:
        """Yield the positions of the rows that are left, in the order in which they are to be read."""
        return chain(self.again, count(self.start))

    def settle(self, position: int, final: bool) -> None:
        """Take note of a row that has its outcome; one that is not final stays to be asked again."""
        if final:
            self._open.discard(position)
        else:
            self._open.add(position)
        if position >= self._low:
            self._ahead.add(position)
        while self._low in self._ahead:
            self._ahead.remove(self._low)
            self._low += 1
        if self._low - self._written >= EVERY:
            self.save()

    def save(self) -> None:
        """Hand the mark to the journal."""
        self._written = self._low
        again = sorted(at for at in self._open if at < self._low)
        self._journal.set_mark(self._name, json.dumps({"start": self._low, "again": again}))
