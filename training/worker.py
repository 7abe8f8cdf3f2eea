"""One process of a training that `training.launch` starts: accelerate launch -m training.worker FOLDER."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

from training import checkpoints, launch
from training.errors import TrainingError
from training.events import Watcher
from training.process import grow_segments, keep_freed_memory, wait_passively


def main(folder: Path, with_parent: bool) -> int:
    """Train the job in `folder` and leave its result or failure there; `with_parent` ends with the pipe."""
    if with_parent:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    wait_passively()
    grow_segments()
    keep_freed_memory()
    from training.sft import fit

    rank = int(os.environ.get("RANK", "0"))
    job = launch.read(folder, int(os.environ.get("WORLD_SIZE", "1")))
    try:
        trained = fit(job, _watcher())
    except TrainingError as error:
        failure = {"kind": type(error).__name__, "message": str(error), "time": time.time()}
        checkpoints.write_json(folder / launch.FAILURE.format(rank=rank), failure)
        return 1
    if rank == 0:
        checkpoints.write_json(folder / launch.RESULT, trained.record())
    return 0


def _watcher() -> Watcher:
    return Watcher(
        lambda event: _tell(asdict(event)),
        lambda note: _tell({"note": note}),
        lambda phase: _tell({"phase": phase}),
    )


def _tell(event: dict[str, object]) -> None:
    print(json.dumps(event), flush=True)


def _end_with_parent() -> None:
    """Wait for the end of standard input, which closes when the process that started all of them is gone."""
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), "--with-parent" in sys.argv[2:]))
