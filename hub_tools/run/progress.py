"""Shows what a run does: a bar a node on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

EVERY = 15.0


class NodeProgress:
    """Counts one node's rows; implements `stages.registry.Tick`."""

    def __init__(self, console: Console, bars: Progress, node: str) -> None:
        self._console = console
        self._bars = bars
        self._node = node
        self._task: TaskID = bars.add_task(node, total=None, rejected=0, rate="", note="")
        self._began = self._shown = time.monotonic()
        self.done = 0
        self.rejected = 0
        self.total: int | None = None
        self.note = ""

    def __call__(self, done: int = 0, *, rejected: int = 0, total: int | None = None, note: str = "") -> None:
        """Add `done` and `rejected` rows; set the total once it is known; `note` is shown beside the bar."""
        self.done += done
        self.rejected += rejected
        self.total = total if total is not None else self.total
        self.note = note or self.note
        if self._console.is_terminal:
            self._bars.update(
                self._task,
                completed=self.done,
                total=self.total,
                rejected=self.rejected,
                rate=f"{self._rate():.1f}/s" if self.done else "",
                note=self.note,
            )
        elif (done and self.done == self.total) or time.monotonic() - self._shown >= EVERY:
            self._shown = time.monotonic()
            self._console.print(self._line(), highlight=False, soft_wrap=True)

    def finish(self, text: str) -> None:
        """Take the bar away and leave one line."""
        self._bars.remove_task(self._task)
        self._console.print(f"[bold]{self._node:<16}[/] {text}", highlight=False, soft_wrap=True)

    def _rate(self) -> float:
        return self.done / max(1e-9, time.monotonic() - self._began)

    def _line(self) -> str:
        of = f" of {self.total}" if self.total else ""
        left = ""
        if self.total and self.done:
            left = f", about {(self.total - self.done) / self._rate():.0f} s left"
        rejected = f", {self.rejected} rejected" if self.rejected else ""
        note = f" ({self.note})" if self.note else ""
        return f"{self._node:<16} {self.done}{of}{rejected}, {self._rate():.1f}/s{left}{note}"


class Display:
    """The progress of a whole run."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._bars = Progress(
            TextColumn("[bold]{task.description:<16}"),
            BarColumn(bar_width=30),
            TextColumn("{task.completed:.0f}/{task.total}"),
            TextColumn("[red]{task.fields[rejected]} rejected"),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=self.console,
            transient=True,
        )

    @contextmanager
    def live(self) -> Iterator[None]:
        """Show bars while the block runs, where there is a terminal."""
        if not self.console.is_terminal:
            yield
            return
        with self._bars:
            yield

    def node(self, name: str) -> NodeProgress:
        """Begin a node."""
        return NodeProgress(self.console, self._bars, name)

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        self.console.print(text, highlight=False, soft_wrap=True)
