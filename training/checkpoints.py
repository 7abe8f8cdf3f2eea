"""Checkpoints that a killed training goes on from: only complete ones, and only of the very same run."""

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
RUN_KEY = "run.json"


def run_key(settings: TrainSettings, pairs: Iterable[Pair], base: str, versions: Mapping[str, str]) -> str:
    """Return sha256 over all that decides the outcome; `save_steps` does not, nor does merging."""
    digest = hashlib.sha256()
    what = settings.model_dump(exclude={"save_steps", "merge"})
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
    complete = []
    for checkpoint in folder.glob("checkpoint-*"):
        if (checkpoint / MARKER).exists():
            complete.append(checkpoint)
        else:
            shutil.rmtree(checkpoint)
    return max(complete, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


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
