"""Several processes whose parent is killed in its third step: python killed_launch.py BASE WORK."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from training_samples import SHA, make_pairs, quick

from training.publish import Base
from training.sft import train

LONG = {"steps": 40, "packing": True}


def together(**changes: object):
    """Return settings of a training of two processes, with a checkpoint every second step."""
    still = {"attention_dropout": 0.0, "lora_dropout": 0.0}
    return quick(**{"method": "full", "processes": 2, "save_steps": 2, **still, **changes})


def kill_in_third_step(event) -> None:
    if event.step == 3:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    tiny = Base(Path(sys.argv[1]), "demo/tiny-llama", SHA)
    train(together(**LONG), make_pairs(12), tiny, Path(sys.argv[2]), kill_in_third_step, threads=1)
