"""A training that is killed while it writes a checkpoint: python killed_training.py BASE WORK STEP."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from training_samples import SHA, make_pairs, resumable

from training import checkpoints
from training.publish import Base
from training.sft import train


def main(base: str, work: str, step: int) -> None:
    mark_complete = checkpoints.mark_complete

    def half_written(checkpoint: Path, *how: object) -> None:
        if checkpoint.name == f"checkpoint-{step}":
            (checkpoint / "optimizer.pt").write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        mark_complete(checkpoint, *how)

    checkpoints.mark_complete = half_written

    def tell(event) -> None:
        print(event.step, flush=True)

    tiny = Base(Path(base), "demo/tiny-llama", SHA)
    train(resumable("full"), make_pairs(12), tiny, Path(work), tell, threads=1)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
