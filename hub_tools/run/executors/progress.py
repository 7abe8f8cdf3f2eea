"""Shows how far the tasks of a job are, whichever machines they run on."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from hub_tools.run.executors.job import progress_name
from hub_tools.run.executors.order import Order
from hub_tools.stages.registry import Tick

LOOK, LOOK_FAR = 0.5, 15.0  # seconds between two looks, in a file system and elsewhere


class Progress:
    """Adds up what tasks tell; rows that a lost task has to read again are not counted again."""

    def __init__(self, order: Order, tick: Tick) -> None:
        self._order = order
        self._tick = tick
        self._rows: dict[int, tuple[int, int]] = {}
        self._finished: set[int] = set()

    def look(self) -> None:
        """Look at all tasks once."""
        before = self._sums()
        missing = set(self._order.missing())
        for rank in set(range(self._order.tasks)) - missing - self._finished:
            done = self._order.done(rank)
            if done:
                self._rows[rank] = (done.kept + done.rejected, done.rejected)
                self._finished.add(rank)
        for name in self._order.folder.names("progress"):
            if name.isdigit() and int(name) in missing:
                content = self._order.folder.read(progress_name(int(name)))
                rows, rejected = json.loads(content or b"[0, 0]")
                self._rows[int(name)] = max(self._rows.get(int(name), (0, 0)), (rows, rejected))
        rows, rejected = (after - then for after, then in zip(self._sums(), before, strict=True))
        note = f"{len(self._finished)} of {self._order.tasks} tasks done"
        told = f"{note}; {self._order.note}" if self._order.note else note
        self._tick(rows, rejected=rejected, note=told)

    def _sums(self) -> tuple[int, int]:
        return sum(rows for rows, _ in self._rows.values()), sum(bad for _, bad in self._rows.values())


@contextmanager
def watched(order: Order, tick: Tick) -> Iterator[None]:
    """Show the progress of an order while the block runs it."""
    progress, ended = Progress(order, tick), threading.Event()
    pause = LOOK if order.folder.local else LOOK_FAR

    def watch() -> None:
        while not ended.wait(pause):
            with suppress(OSError):  # a folder that is far away may not answer now and then
                progress.look()

    thread = threading.Thread(target=watch, name="tasks", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    progress.look()
