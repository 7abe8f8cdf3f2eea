"""How fast a training is: tokens a second, the share of the hardware's peak, the time that is left."""

from __future__ import annotations

from dataclasses import dataclass

from training.settings import Method

# Forward, and backward to the activations, take 2 floating-point operations a weight each; so do the
# gradients of the weights themselves, which a frozen base has none of.
OPERATIONS: dict[Method, int] = {"full": 6, "lora": 4, "qlora": 4}


@dataclass(slots=True)
class Meter:
    """Counts tokens and seconds; `flops` is what a token takes, `peak` what all devices can do in a second,
    `left` the tokens to come and `evaluations_left` the evaluations.

    Attention's own products are left out, as is what gradient checkpointing computes again.
    """

    flops: float = 0.0
    peak: float | None = None
    left: int = 0
    tokens: int = 0
    seconds: float = 0.0
    evaluations_left: int = 0
    evaluations: int = 0
    evaluation_seconds: float = 0.0

    def add(self, tokens: int, seconds: float) -> None:
        """Count one step."""
        self.tokens += tokens
        self.seconds += seconds
        self.left -= tokens

    def add_evaluation(self, seconds: float) -> None:
        """Count one evaluation."""
        self.evaluations += 1
        self.evaluation_seconds += seconds
        self.evaluations_left -= 1

    def mfu(self, tokens_per_second: float) -> float | None:
        """Return the share of the peak that this speed stands for; None where the peak is not known."""
        return tokens_per_second * self.flops / self.peak if self.peak else None

    def seconds_left(self) -> float:
        """Return the time that the tokens and evaluations to come take, as long as those so far on average;
        0 before the first step.
        """
        training = self.left * self.seconds / self.tokens if self.tokens else 0.0
        each = self.evaluation_seconds / self.evaluations if self.evaluations else 0.0
        return training + self.evaluations_left * each


def meter(method: Method, parameters: int, tokens: int, processes: int) -> Meter:
    """Return the meter of a training with so many tokens to come, on devices of this machine's kind."""
    from training.devices import gpu_here

    gpu = gpu_here()
    peak = gpu.teraflops * 1e12 * processes if gpu else None
    return Meter(OPERATIONS[method] * parameters, peak, tokens)


def told(seconds: float) -> str:
    """Return a duration as people say it."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
