"""Stopping a run: Ctrl-C and SIGTERM end it in one line, with the exit code of the signal."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hub_tools.errors import Stopped

ENDINGS = (signal.SIGTERM, signal.SIGHUP)


class Terminated(KeyboardInterrupt):
    """One of ENDINGS came: it ends what runs the way that Ctrl-C does."""

    number = signal.SIGTERM


@contextmanager
def stoppable(where: Callable[[], str]) -> Iterator[None]:
    """Run the block until a signal stops it; `where` names what ran then.

    Raises:
        Stopped: Ctrl-C or one of ENDINGS came.
    """
    try:
        with _terminated():
            yield
    except KeyboardInterrupt as stop:
        kept = str(stop) or "what is finished stays"
        number = stop.number if isinstance(stop, Terminated) else signal.SIGINT
        raise Stopped(f"{where()}: {kept}; run the same command again to go on", 128 + number) from None


@contextmanager
def _terminated() -> Iterator[None]:
    """Raise Terminated in the block at one of ENDINGS, unless it is handled or ignored already; without
    effect in another thread than the main one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _: Any) -> None:
        stop = Terminated()
        stop.number = signal.Signals(number)
        raise stop

    free = [number for number in ENDINGS if signal.getsignal(number) == signal.SIG_DFL]
    for number in free:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in free:
            signal.signal(number, signal.SIG_DFL)
