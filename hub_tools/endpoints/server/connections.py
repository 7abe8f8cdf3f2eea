"""As many connections as the system allows, and a short log when it allows no more."""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
from time import monotonic
from typing import Any

logger = logging.getLogger(__name__)

_WANTED = 65_536
_QUIET_SECONDS = 60.0


def allow_many() -> None:
    """Raise this process's limit of open files, which shells set to 1024, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED if hard == resource.RLIM_INFINITY else min(_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class FullHouse:
    """Logs that no connection can be accepted as one line a minute.

    asyncio writes a traceback for each that waits, thousands a second, until one closes.
    """

    def __init__(self) -> None:
        self._silent_until = 0.0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Handle what asyncio reports of its callbacks."""
        error = context.get("exception")
        if not (isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}):
            loop.default_exception_handler(context)
        elif monotonic() >= self._silent_until:
            self._silent_until = monotonic() + _QUIET_SECONDS
            logger.error("no further connection is accepted until one closes: %s", error.strerror)
