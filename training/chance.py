"""Random numbers on every device: kept and put back, and drawn alike by all processes for rounding."""

from __future__ import annotations

from typing import Any

import torch
from transformers import TrainerCallback

State = tuple[torch.Tensor, list[torch.Tensor]]


def random_state() -> State:
    """Return where the sequences of random numbers are, on the CPU and on the GPUs."""
    return torch.get_rng_state(), torch.cuda.get_rng_state_all()


def set_random_state(state: State) -> None:
    """Go on from where `random_state` was."""
    torch.set_rng_state(state[0])
    torch.cuda.set_rng_state_all(state[1])


class RoundAlike(TrainerCallback):  # type: ignore[misc]
    """Lets weights that are rounded by chance be rounded alike in all processes.

    How many numbers dropout draws depends on a process's pairs: from then on, each would round to other
    weights, and average gradients of models that drift apart.
    """

    before: State

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Begin a sequence that seed and step alone decide."""
        self.before = random_state()
        torch.manual_seed(args.seed * 1_000_003 + state.global_step)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Go on with what each process draws for its own pairs."""
        set_random_state(self.before)
