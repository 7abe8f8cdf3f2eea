"""What one training is of, and what tells it from others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from training import checkpoints
from training.events import ignore
from training.publish import Base
from training.settings import TrainSettings
from training.views import Pair

LIBRARIES = (
    *("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes", "torchao", "liger-kernel"),
    *("flash-attn", "flash-attn-3", "flash-attn-4"),
)


@dataclass(frozen=True, slots=True)
class Job:
    """What is trained: resolved settings, pairs, base, the folder for all its files, torch's threads."""

    settings: TrainSettings
    pairs: Sequence[Pair]
    base: Base
    work: Path
    threads: int | None = None

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints lie."""
        return self.work / checkpoints.FOLDER

    def key(self) -> str:
        """Return what this very training is told from others by."""
        base = f"{self.base.repo}@{self.base.sha}"
        return checkpoints.run_key(self.settings, self.pairs, base, library_versions())

    def newest_checkpoint(self, on_note: Callable[[str], None] = ignore) -> Path | None:
        """Make the folder of checkpoints fit for this very training, and return the newest of them.

        Raises TrainingError where other processes have split it in another way.
        """
        found = checkpoints.prepare(self.checkpoints, self.key(), on_note)
        if found:
            checkpoints.check_split(found, self.settings)
        return found


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that a training stands on, of those that are installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
