"""Shows what a run does: one line a node on a terminal, which moves; elsewhere a line now and then."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Unpack

from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task, TaskID
from rich.table import Column
from rich.text import Text

from dataset_cards.escape import visible
from hub_tools.stages.registry import News
from training.throughput import told

EVERY = 15.0
BAR, WORDS = 30, 90  # cells


@dataclass(slots=True)
class State:
    """How far a node is; `left` is what its stage says of the seconds to come, None where it says nothing."""

    node: str
    began: float = field(default_factory=time.monotonic)
    done: int = 0
    rejected: int = 0
    total: int | None = None
    note: str = ""
    left: float | None = None

    def parts(self) -> list[str]:
        """Return what there is to tell, the most important first."""
        parts = [f"{self.done}/{self.total}" if self.total else str(self.done)] if self._counts() else []
        left = self._seconds_left()
        parts += [f"{told(left)} left"] if left and left >= 0.5 else []
        parts += [f"{self.rejected} rejected"] if self.rejected else []
        parts += [f"{self._rate():.1f}/s"] if self.done and self.left is None else []
        return [*parts, *filter(None, [visible(self.note).replace("\n", " ")])]

    def clock(self) -> str:
        """Return the time since the node began."""
        return str(timedelta(seconds=int(time.monotonic() - self.began)))

    def _counts(self) -> bool:
        return bool(self.total or self.done)

    def _rate(self) -> float:
        return self.done / max(1e-9, time.monotonic() - self.began)

    def _seconds_left(self) -> float | None:
        if self.left is not None or not (self.total and self.done):
            return self.left
        return max(0, self.total - self.done) / self._rate()


class _Line(ProgressColumn):
    """A node on one line of the terminal, with a bar where that is wide; what has no room is cut."""

    def __init__(self, console: Console) -> None:
        super().__init__(Column(no_wrap=True))
        self._console = console

    def render(self, task: Task) -> Text:
        """Return the line, no wider than the terminal."""
        state: State = task.fields["state"]
        width = self._console.width
        told_of = " · ".join(state.parts())
        clock = f" · {state.clock()}" if told_of else state.clock()
        line = Text.assemble((f"{state.node:<16} ", "bold"), no_wrap=True, overflow="ellipsis")
        if state.total and width > WORDS:
            line.append_text(_bar(state.done / state.total, min(BAR, width - WORDS)))
        line.append(told_of)
        if line.cell_len + len(clock) <= width:
            line.append(clock, "dim")
        line.truncate(width, overflow="ellipsis")
        return line


def _bar(share: float, cells: int) -> Text:
    full = round(cells * min(1.0, share))
    return Text.assemble(("━" * full, "cyan"), ("━" * (cells - full), "bright_black"), " ")


class NodeProgress:
    """Counts one node's rows; implements `stages.registry.Tick`."""

    def __init__(self, console: Console, bars: Progress, node: str) -> None:
        self._console = console
        self._bars = bars
        self._state = State(node)
        self._task: TaskID = bars.add_task(node, total=None, state=self._state)
        self._shown = time.monotonic()

    def __call__(self, done: int = 0, **news: Unpack[News]) -> None:
        """Add `done` rows, and show the news."""
        state = self._state
        state.done += done
        state.rejected += news.get("rejected", 0)
        state.note = news.get("note") or state.note
        if (total := news.get("total")) is not None:
            state.total = total
        if (left := news.get("left")) is not None:
            state.left = left
        if line := news.get("line"):
            self._print(visible(line))
        if not self._console.is_terminal and (
            (done and state.done == state.total) or time.monotonic() - self._shown >= EVERY
        ):
            self._shown = time.monotonic()
            self._print(" · ".join([*state.parts(), state.clock()]))

    def finish(self, text: str) -> None:
        """Take the line away and leave another."""
        self._bars.remove_task(self._task)
        self._console.print(f"[bold]{self._state.node:<16}[/] {text}", highlight=False, soft_wrap=True)

    def _print(self, text: str) -> None:
        line = Text.assemble((f"{self._state.node:<16}", "bold"), f" {text}")
        self._console.print(line, highlight=False, soft_wrap=True)


class Display:
    """The progress of a whole run."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._bars = Progress(_Line(self.console), console=self.console, transient=True)

    @contextmanager
    def live(self) -> Iterator[None]:
        """Show the moving lines while the block runs, where there is a terminal."""
        if not self.console.is_terminal:
            yield
            return
        with self._bars:
            yield

    def node(self, name: str) -> NodeProgress:
        """Begin a node."""
        return NodeProgress(self.console, self._bars, name)

    def say(self, text: str) -> None:
        """Print a line above the moving ones."""
        self.console.print(text, highlight=False, soft_wrap=True)
