"""What a training tells while it runs, and to whom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepEvent:
    """One finished optimiser step; `loss` is the mean over its trained tokens, padding counts as no token.

    `mfu` is the share of the GPUs' peak that the model's own arithmetic takes, None where that is unknown;
    `seconds_left` is for the steps and evaluations to come.
    """

    step: int
    total: int
    loss: float
    tokens_per_second: float
    mfu: float | None = None
    seconds_left: float = 0.0


def ignore(event: object) -> None:
    """Listen to nothing."""


@dataclass(frozen=True, slots=True)
class Watcher:
    """Who is told: `on_step` of every optimiser step, `on_note` of what happens beside them, in one line,
    `on_phase` of what takes long between them.
    """

    on_step: Callable[[StepEvent], None] = ignore
    on_note: Callable[[str], None] = ignore
    on_phase: Callable[[str], None] = ignore
