"""A training that kills itself: python killed_training.py BASE WORK STEP METHOD in_step|while_saving."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from training_samples import SHA, make_pairs, resumable

from training import checkpoints
from training.publish import Base
from training.sft import train


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(base: str, work: str, step: int, method: str, where: str) -> None:
    if where == "while_saving":

        def half_written(checkpoint: Path, seconds: float) -> None:
            if checkpoint.name == f"checkpoint-{step}":
                (checkpoint / "optimizer.pt").write_bytes(b"half")
                die()
            mark_complete(checkpoint, seconds)

        mark_complete, checkpoints.mark_complete = checkpoints.mark_complete, half_written

    def on_step(event) -> None:
        print(event.step, flush=True)
        if where == "in_step" and event.step == step:
            die()

    train(
        resumable(method),
        make_pairs(12),
        Base(Path(base), "demo/tiny-llama", SHA),
        Path(work),
        on_step,
        threads=1,
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5])
