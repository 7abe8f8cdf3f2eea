"""Checkpoints that a killed training goes on from: only complete ones, and only of the very same run.

Two complete ones are there at most, beside the bare weights of the steps that may be published.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from training.settings import TrainSettings
from training.views import Pair

MARKER = "complete.json"  # written last, so a checkpoint without it was cut off
KEPT = "kept.json"  # marks bare weights: nothing goes on from them
RUN_KEY = "run.json"
# What decides no outcome, or only the order of its sums.
FREE = {"save_steps", "merge", "publish_step", "micro_batch", "gradient_checkpointing"}
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


def prepare(folder: Path, key: str) -> Path | None:
    """Make `folder` fit for the run `key` and return its newest complete checkpoint, if any.

    Checkpoints of another run are removed, as are those cut off while they were written.
    """
    record = folder / RUN_KEY
    if not record.exists() or json.loads(record.read_text(encoding="utf-8"))["key"] != key:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_json(record, {"key": key})
    remove_cut_off(folder)
    return newest(folder)


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


def step_of(checkpoint: Path) -> int:
    """Return the step after which a checkpoint was written."""
    return int(checkpoint.name.rpartition("-")[2])


def _complete(folder: Path) -> list[Path]:
    return [path for path in folder.glob("checkpoint-*") if (path / MARKER).exists()]


def _strip(checkpoint: Path) -> None:
    """Leave the weights alone: what a training needs to go on takes several times their room."""
    write_json(checkpoint / KEPT, {"step": step_of(checkpoint)})
    (checkpoint / MARKER).unlink()
    for pattern in RESUMED_FROM:
        for path in checkpoint.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def mark_complete(checkpoint: Path, seconds: float) -> None:
    """Declare a checkpoint complete; `seconds` is the training time that led to it, over all attempts."""
    write_json(checkpoint / MARKER, {"seconds": seconds})


def seconds_before(checkpoint: Path | None) -> float:
    """Return the training time that a checkpoint stands for; 0 where there is none."""
    if checkpoint is None:
        return 0.0
    return float(json.loads((checkpoint / MARKER).read_text(encoding="utf-8"))["seconds"])


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write JSON so that the file is there as a whole or not at all."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content), encoding="utf-8")
    os.replace(part, path)
