"""Counts who is here, and turns away whoever comes past the limit."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic

from hub_tools.endpoints.server.errors import OverloadedError


class Visits:
    """TGI's admission: as many requests as `limit`, and no queue before the door."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.here = 0

    def enter(self) -> Visit:
        """Let one more in; raises `OverloadedError` if that is one too many."""
        if self.here >= self._limit:
            raise OverloadedError
        self.here += 1
        return Visit(self)


@dataclass
class Visit:
    """One request that was let in at `since`; it leaves once, however often that is said."""

    _visits: Visits
    since: float = field(default_factory=monotonic)
    _left: bool = False

    def leave(self) -> None:
        """Make room for the next."""
        if not self._left:
            self._left = True
            self._visits.here -= 1
