"""What an executor is asked to do, and what each of the four shares."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hub_tools.errors import RecipeError
from hub_tools.run.executors.folder import Folder
from hub_tools.run.executors.job import Done, done_name
from hub_tools.run.executors.step import Step

OURS = (
    *("self", "pipeline", "tasks", "workers", "logging_dir", "skip_completed"),
    *("depends", "depends_job_id", "token", "secrets", "nodes_per_task"),
)


@dataclass(slots=True, kw_only=True)
class Order:
    """Run all tasks of the job in `folder` that are not done, `workers` at once; `note` says how it stands.

    `settings` go to datatrove's executor as they are. The token is never written anywhere.
    """

    folder: Folder
    name: str
    tasks: int
    workers: int
    settings: Mapping[str, Any]
    token: str | None = field(repr=False, default=None)
    note: str = ""

    @property
    def step(self) -> Step:
        """The step of every pipeline."""
        return Step(self.folder.address)

    @property
    def shared(self) -> dict[str, Any]:
        """What every executor of datatrove is told."""
        return {
            "tasks": self.tasks,
            "workers": self.workers,
            "logging_dir": f"{self.folder.address}/datatrove",
        }

    def missing(self) -> list[int]:
        """Return the tasks that are not done."""
        done = self.folder.names("done")
        return [rank for rank in range(self.tasks) if done_name(rank).rpartition("/")[2] not in done]

    def failed(self) -> dict[int, str]:
        """Return the tasks that failed in this run, and why."""
        names = sorted(self.folder.names("failed"))
        return {int(name): (self.folder.read(f"failed/{name}") or b"").decode() for name in names}

    def done(self, rank: int) -> Done | None:
        """Return what a task made, once it has."""
        return Done.read(self.folder, rank)


def settings_of(executor: Any) -> tuple[str, ...]:
    """Return the settings of an executor of datatrove that a user may choose."""
    return tuple(name for name in inspect.signature(executor.__init__).parameters if name not in OURS)


def check_settings(known: Sequence[str], settings: Mapping[str, Any], where: str) -> None:
    """Check that an executor knows these settings.

    Raises:
        RecipeError: one that it does not have, or that is not to be set.
    """
    for name in settings:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
            raise RecipeError(f"{where}: {name} is no setting of this executor; {hint}")
