"""Stopping a run: Ctrl-C and SIGTERM end it in one line, with the exit code of the signal."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hub_tools.errors import Stopped

ENDINGS = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stoppable(where: Callable[[], str]) -> Iterator[None]:
    """Run the block until a signal stops it; `where` names what ran then.

    Raises:
        Stopped: Ctrl-C or one of ENDINGS came.
    """
    came = [signal.SIGINT]
    try:
        with _as_ctrl_c(came):
            yield
    except KeyboardInterrupt as stop:
        kept = str(stop) or "what is finished stays"
        raise Stopped(f"{where()}: {kept}; run the same command again to go on", 128 + came[-1]) from None


@contextmanager
def _as_ctrl_c(came: list[signal.Signals]) -> Iterator[None]:
    """Let one of ENDINGS, which is put into `came`, end the block as Ctrl-C does, which asyncio handles;
    without effect where it is handled or ignored already, and in another thread than the main one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: Any) -> None:
        came.append(signal.Signals(number))
        interrupt = signal.getsignal(signal.SIGINT)
        (interrupt if callable(interrupt) else signal.default_int_handler)(signal.SIGINT, frame)

    free = [number for number in ENDINGS if signal.getsignal(number) == signal.SIG_DFL]
    for number in free:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in free:
            signal.signal(number, signal.SIG_DFL)
