"""What every task of a job reads, and what each leaves behind, as files in the job's folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hub_tools.columns import read_rows
from hub_tools.errors import BackforthError
from hub_tools.prompts import Prompts
from hub_tools.recipe import StopWhen
from hub_tools.records import Rejected, Row
from hub_tools.run.executors.folder import JOURNALS, Folder
from hub_tools.run.generation.generate import Asked, Generator, Spent
from hub_tools.run.generation.journal import Journal
from hub_tools.run.generation.serving import Expected
from hub_tools.stages.registry import Ask, AskConfig, get_stage

TOKEN = "ENDPOINT_TOKEN"  # noqa: S105  (a variable's name)
JOB = "job.json"
OUT = "out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One stage over its rows, in `tasks` tasks. It holds no token: tasks have theirs in the environment."""

    stage: str
    config: Mapping[str, Any]
    prompts: Mapping[str, str]
    seed: int
    tasks: int
    asked: Mapping[str, Any]
    expected: Mapping[str, Any] | None

    @classmethod
    def of(
        cls,
        stage: str,
        config: AskConfig,
        prompts: Mapping[str, str],
        seed: int,
        tasks: int,
        asked: Asked,
    ) -> Job:
        """Return the job that asks `asked` for every row."""
        check = asked.check
        about = {name: getattr(asked, name) for name in ASKED}
        return cls(
            stage=stage,
            config=config.model_dump(mode="json"),
            prompts=prompts,
            seed=seed,
            tasks=tasks,
            asked={**about, "urls": list(asked.urls), "stop_when": asked.stop_when.model_dump()},
            expected=asdict(check) if isinstance(check, Expected) else None,
        )

    @classmethod
    def read(cls, folder: Folder) -> Job:
        """Read the job of a folder."""
        content = folder.read(JOB)
        if content is None:
            raise BackforthError(f"{folder.address} holds no job; is it the same folder on every machine?")
        return cls(**json.loads(content))

    def write(self, folder: Folder) -> None:
        """Put the job where its tasks find it."""
        folder.write(JOB, json.dumps(asdict(self)).encode())

    def generator(self, journal: Journal) -> Generator:
        """Return what asks for a task's rows."""
        stage = get_stage(self.stage, "a task")
        config = stage.config.model_validate(self.config)
        ask = stage.make(config, Prompts(texts=self.prompts).render)
        assert isinstance(ask, Ask)
        assert isinstance(config, AskConfig)
        asked = Asked(
            **{**self.asked, "stop_when": StopWhen(**self.asked["stop_when"])}, token=os.environ.get(TOKEN)
        )
        if self.expected:
            asked = replace(asked, check=Expected(**self.expected))
        return Generator(self.stage, self.seed, config, ask, asked, journal)


ASKED = ("name", "model", "sha", "kind", "timeout", "tries", "patience", "concurrency")


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a finished task made: its counts, its cost, and its shards by config, in order."""

    kept: int
    rejected: int
    spent: Mapping[str, int]
    files: Mapping[str, Sequence[str]]

    @classmethod
    def read(cls, folder: Folder, rank: int) -> Done | None:
        """Return what task `rank` made, or None while it has not."""
        content = folder.read(done_name(rank))
        return cls(**json.loads(content)) if content else None

    def write(self, folder: Folder, rank: int) -> None:
        """Say that task `rank` is done; its shards must be where all can see them."""
        folder.write(done_name(rank), json.dumps(asdict(self)).encode())


def done_name(rank: int) -> str:
    """Return the name of the file that says that a task is done."""
    return f"done/{rank:05d}.json"


def input_name(rank: int) -> str:
    """Return the name of the folder of a task's rows."""
    return f"in/{rank:05d}"


def failed_name(rank: int) -> str:
    """Return the name of the file that says why a task failed."""
    return f"failed/{rank:05d}"


def progress_name(rank: int) -> str:
    """Return the name of the file that says how far a task is."""
    return f"progress/{rank:05d}"


def journal_name(rank: int, tasks: int) -> str:
    """Return the name of a task's journal, which outlives the job: a changed setting asks less anew."""
    return f"{JOURNALS}/{rank:05d}-of-{tasks:05d}.sqlite"


def gathered(folder: Folder, job: Job, scratch: Path, spent: Spent, origin: str) -> Iterator[Row | Rejected]:
    """Yield what all tasks made, kept rows and rejects each in the order of the input, and add up `spent`.

    Raises:
        BackforthError: a task is not done.
    """
    stage = get_stage(job.stage, "a task")
    assert isinstance(stage.writes, type)
    for rank in range(job.tasks):
        done = Done.read(folder, rank)
        if done is None:
            raise BackforthError(f"{origin}: task {rank} is not done; run again")
        spent.requests += done.spent["requests"]
        spent.prompt_tokens += done.spent["prompt_tokens"]
        spent.completion_tokens += done.spent["completion_tokens"]
        for config, record in ((stage.config_name, stage.writes), ("rejected", Rejected)):
            shards = [folder.fetch(name, scratch) for name in done.files[config]]
            yield from read_rows(record, shards, origin)
