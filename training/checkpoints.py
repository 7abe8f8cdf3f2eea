"""Checkpoints that a killed training goes on from: only whole ones, and only of the very same run.

Two complete ones are there at most, beside the bare weights of the steps that may be published.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from training import seal
from training.errors import TrainingError
from training.events import ignore
from training.settings import TrainSettings
from training.views import Pair

FOLDER = "checkpoints"
MARKER = "complete.json"  # written last, so a checkpoint without it was cut off
KEPT = "kept.json"  # marks bare weights: nothing goes on from them
RUN_KEY = "run.json"
WHOLE = "whole (ddp, or one process)"
FINISHED = "finished.json"  # what a training came to, once it has ended
# What decides no outcome, or only the order of its sums.
FREE = {
    *("save_steps", "merge", "publish_step"),
    *("micro_batch", "gradient_checkpointing", "checkpointed_layers", "offload_activations"),
    "compile_layers",
}
RESUMED_FROM = ("optimizer*", "scheduler*", "scaler*", "rng_state*", "pytorch_model_fsdp*", "global_step*")


def run_key(settings: TrainSettings, pairs: Iterable[Pair], base: str, versions: Mapping[str, str]) -> str:
    """Return sha256 over all that decides the outcome: how often it saves does not, nor does merging."""
    digest = hashlib.sha256()
    what = settings.model_dump(exclude=FREE)
    for part in (what, base, dict(versions)):
        digest.update(json.dumps(part, sort_keys=True).encode() + b"\n")
    for pair in pairs:
        digest.update(json.dumps(asdict(pair), sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def prepare(folder: Path, key: str, on_note: Callable[[str], None] = ignore) -> Path | None:
    """Make `folder` fit for the run `key` and return its newest complete checkpoint, if any.

    Checkpoints of another run are removed, as are those cut off while they were written, and those that are
    not as they were written; a note says so of these.
    """
    record = folder / RUN_KEY
    if not record.exists() or json.loads(record.read_text(encoding="utf-8"))["key"] != key:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_json(record, {"key": key})
    remove_cut_off(folder)
    while last := newest(folder):
        damage = _damage(last, MARKER)
        if not damage:
            return last
        shutil.rmtree(last)
        before = newest(folder)
        instead = f"step {step_of(before)}" if before else "the start"
        on_note(f"the checkpoint of step {step_of(last)} is damaged ({', '.join(damage)}): on from {instead}")
    return None


def newest(folder: Path) -> Path | None:
    """Return the newest complete checkpoint."""
    return max(_complete(folder), key=step_of, default=None)


def remove_cut_off(folder: Path) -> list[int]:
    """Remove the checkpoints that were cut off while they were written, and return their steps."""
    cut_off = [
        path
        for path in folder.glob("checkpoint-*")
        if not (path / MARKER).exists() and not (path / KEPT).exists()
    ]
    for path in cut_off:
        shutil.rmtree(path)
    return sorted(step_of(path) for path in cut_off)


def thin_out(folder: Path, keep: Iterable[int]) -> None:
    """Leave the two newest complete checkpoints; of older ones, the bare weights of the steps to keep."""
    wanted = set(keep)
    for path in sorted(_complete(folder), key=step_of)[:-2]:
        if step_of(path) in wanted:
            _strip(path)
        else:
            shutil.rmtree(path)


def at_step(folder: Path, step: int) -> Path:
    """Return where the checkpoint of a step lies."""
    return folder / f"checkpoint-{step}"


def weights_at(folder: Path, step: int) -> Path:
    """Return the checkpoint of a step, whose weights are to be published.

    Raises:
        TrainingError: it is not there, or not as it was written.
    """
    checkpoint = at_step(folder, step)
    marker = KEPT if (checkpoint / KEPT).exists() else MARKER
    if not (checkpoint / marker).exists():
        raise TrainingError(f"the weights of step {step} are gone from {folder}; delete it and train again")
    if damage := _damage(checkpoint, marker):
        raise TrainingError(
            f"{checkpoint / damage[0]} is damaged; delete {folder} and train again, or publish another of "
            f"keep_steps with publish_step"
        )
    return checkpoint


def _damage(checkpoint: Path, marker: str) -> list[str]:
    try:
        return seal.damaged(checkpoint, json.loads((checkpoint / marker).read_text())["files"])
    except (OSError, ValueError, KeyError):
        return [marker]


def finish(folder: Path, outcome: Mapping[str, Any]) -> None:
    """Note what a training came to, so that it need not be started again to publish what it made."""
    write_json(folder / FINISHED, {"outcome": outcome})


def finished(folder: Path, key: str) -> dict[str, Any] | None:
    """Return what the run `key` came to; None where it has not ended."""
    try:
        record = json.loads((folder / RUN_KEY).read_text(encoding="utf-8"))
        outcome: dict[str, Any] = json.loads((folder / FINISHED).read_text(encoding="utf-8"))["outcome"]
    except (OSError, ValueError, KeyError):
        return None
    return outcome if record["key"] == key else None


def leave_weights(folder: Path, steps: Iterable[int]) -> None:
    """Leave of a finished run's checkpoints the bare weights of these steps alone."""
    wanted = set(steps)
    for path in _complete(folder):
        if step_of(path) in wanted:
            _strip(path)
        else:
            shutil.rmtree(path)


def step_of(checkpoint: Path) -> int:
    """Return the step after which a checkpoint was written."""
    return int(checkpoint.name.rpartition("-")[2])


def _complete(folder: Path) -> list[Path]:
    return [path for path in folder.glob("checkpoint-*") if (path / MARKER).exists()]


def _strip(checkpoint: Path) -> None:
    """Leave the weights alone: what a training needs to go on takes several times their room."""
    resumed_from = [path for pattern in RESUMED_FROM for path in checkpoint.glob(pattern)]
    files = json.loads((checkpoint / MARKER).read_text(encoding="utf-8"))["files"]
    gone = {path.name for path in resumed_from}
    left = {name: digest for name, digest in files.items() if name.partition("/")[0] not in gone}
    write_json(checkpoint / KEPT, {"files": left})
    (checkpoint / MARKER).unlink()
    for path in resumed_from:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def mark_complete(checkpoint: Path, seconds: float, split: str = WHOLE) -> None:
    """Declare a checkpoint complete; `seconds` is the training time that led to it, over all attempts."""
    (checkpoint / KEPT).unlink(missing_ok=True)
    content = {"seconds": seconds, "split": split, "files": seal.digests(checkpoint)}
    write_json(checkpoint / MARKER, content)


def split_of(settings: TrainSettings) -> str:
    """Return how a training's checkpoints are split: it goes on only from one that is split alike.

    DeepSpeed writes one file for each process; the others' checkpoints do for any number of processes.
    """
    if not settings.split:
        return WHOLE
    return "fsdp2" if settings.sharding == "fsdp2" else f"zero3 over {settings.processes} processes"


def check_split(checkpoint: Path, settings: TrainSettings) -> None:
    """Raise TrainingError where a checkpoint is split in another way than these settings' are."""
    written = json.loads((checkpoint / MARKER).read_text(encoding="utf-8")).get("split")
    if written not in (None, split_of(settings)):
        raise TrainingError(
            f"the checkpoint of step {step_of(checkpoint)} is {written}, but sharding and processes are now "
            f"{split_of(settings)}; set them back, or delete {checkpoint.parent} to begin anew"
        )


def seconds_before(checkpoint: Path | None) -> float:
    """Return the training time that a checkpoint stands for; 0 where there is none."""
    if checkpoint is None:
        return 0.0
    return float(json.loads((checkpoint / MARKER).read_text(encoding="utf-8"))["seconds"])


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write JSON so that the file is there as a whole or not at all."""
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
