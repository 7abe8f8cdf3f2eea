"""One process of a training that `training.launch` starts: accelerate launch -m training.worker FOLDER."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
import traceback
from dataclasses import asdict
from pathlib import Path

from training import checkpoints, launch
from training.errors import TrainingError, one_line
from training.events import Watcher
from training.process import grow_segments, keep_freed_memory, wait_passively
from training.result import Trained


def main(folder: Path, with_parent: bool) -> int:
    """Train the job in `folder` and leave its result there, or print the failure; `with_parent` ends with the
    pipe.
    """
    if with_parent:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    wait_passively()
    grow_segments()
    keep_freed_memory()
    rank = int(os.environ.get("RANK", "0"))
    try:
        trained = _fit(folder)
    except Exception as error:  # whatever it is, it is told where the training was started
        traceback.print_exc()
        _tell({"rank": rank, "host": socket.gethostname(), "time": time.time(), **_failure(error)})
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


def _fit(folder: Path) -> Trained:
    from training.sft import fit

    if not folder.exists():
        raise TrainingError(
            f"{socket.gethostname()} does not see {folder}; let `work` be on a disk that all machines share"
        )
    job = launch.read(folder, int(os.environ.get("WORLD_SIZE", "1")))
    return fit(job, _watcher())


def _failure(error: Exception) -> dict[str, object]:
    """Return what is told of an error: its kind if it is one of trainings, and one line."""
    if isinstance(error, TrainingError):
        return {"failure": type(error).__name__, "message": str(error)}
    return {"failure": "", "message": f"{type(error).__name__}: {one_line(error)}"}


def _tell(event: dict[str, object]) -> None:
    """Print one line at once, whole: all processes and their libraries write to the same pipe."""
    os.write(1, f"\n{json.dumps(event)}\n".encode())


def _end_with_parent() -> None:
    """Wait for the end of standard input, which closes when the process that started all of them is gone."""
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), "--with-parent" in sys.argv[2:]))
