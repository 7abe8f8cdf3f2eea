"""Spreads a stage's rows over tasks, sees them through, and brings what they made together again."""

from __future__ import annotations

import importlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import yaml

from hub_tools.errors import BackforthError, RecipeError
from hub_tools.recipe import EndpointSection, Recipe
from hub_tools.records import Row
from hub_tools.run.executors.folder import Folder
from hub_tools.run.executors.job import TOKEN, Job, input_name
from hub_tools.run.executors.order import Order, check_settings
from hub_tools.run.executors.progress import watched
from hub_tools.run.generation.generate import Asked
from hub_tools.run.graph import Graph
from hub_tools.run.publishing.parquet import ShardWriter
from hub_tools.stages.registry import Tick

MODULES = {"local": "local", "slurm": "slurm", "ray": "on_ray", "jobs": "jobs"}
TASKS = "tasks"  # the folder in a node's work folder
PLAN = "plan.json"
FEWEST = 20  # rows of a task before a share of them is judged
HERE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How asking stages run: through which executor, in how many tasks, how many of them at once.

    `shared` is a folder that all machines see; null is the recipe's work folder. `settings` go to the
    executor.
    """

    executor: str
    tasks: int
    workers: int | None = None
    shared: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(
        cls,
        executor: str,
        tasks: int | None,
        workers: int | None,
        shared: str | None,
        settings: Iterable[str],
    ) -> Scale:
        """Read what the command line says.

        Raises:
            RecipeError: an unknown executor, or something that it does not take.
        """
        if executor not in MODULES:
            raise RecipeError(f"--executor {executor}: there are {', '.join(MODULES)}")
        if any(number is not None and number < 1 for number in (tasks, workers)):
            raise RecipeError("--tasks and --workers are at least 1")
        read: dict[str, Any] = {}
        for setting in settings:
            name, separator, value = setting.partition("=")
            if not separator:
                raise RecipeError(f"--executor-set {setting}: write it as KEY=VALUE, such as partition=main")
            read[name] = yaml.safe_load(value)
        cores = len(os.sched_getaffinity(0))
        workers = workers or (cores if executor == "local" else None)
        return cls(
            executor=executor, tasks=tasks or workers or 8, workers=workers, shared=shared, settings=read
        )

    @property
    def module(self) -> ModuleType:
        """The module that runs orders.

        Raises:
            BackforthError: a library is not installed that it needs.
        """
        try:
            return importlib.import_module(f"hub_tools.run.executors.{MODULES[self.executor]}")
        except ModuleNotFoundError as error:
            raise BackforthError(
                f"--executor {self.executor} needs the package {error.name}; install backforth[scale]"
            ) from error

    def check(self, recipe: Recipe, graph: Graph) -> None:
        """Find what would only fail on other machines, before anything runs.

        Raises:
            BackforthError: it names the setting, or the cluster that is not there.
        """
        self.module.check()
        check_settings(self.module.SETTINGS, self.settings, f"--executor-set for {self.executor}")
        shared = Folder(self.shared) if self.shared is not None else None
        if self.executor == "jobs" and (shared is None or shared.local):
            raise RecipeError(
                "--executor jobs needs a --shared folder that Jobs can reach, such as "
                "hf://buckets/NAMESPACE/BUCKET/FOLDER"
            )
        for name in sorted({node.asks for node in graph.nodes.values() if node.asks}):
            self._check_reached(f"{recipe.where}: endpoints.{name}", recipe.file.endpoints[name])

    def _check_reached(self, where: str, section: EndpointSection) -> None:
        if self.executor == "local" or section.dedicated:
            return
        if not section.urls:
            raise RecipeError(
                f"{where} has no url: the embedded endpoint answers on this machine alone; give it the url "
                f"of a server that the tasks can reach, or use --executor local"
            )
        near = [url for url in section.urls if urlsplit(url).hostname in HERE]
        if near and self.executor == "jobs":
            raise RecipeError(f"{where}.url is {near[0]}, which Jobs cannot reach; give it a public address")


def tasks_folder(scale: Scale | None, recipe: Recipe, node: str, work: Path) -> Folder:
    """Return the folder of a node's jobs and journals."""
    if scale is None or scale.shared is None:
        return Folder(str((work / TASKS).resolve()))
    return Folder(f"{scale.shared.rstrip('/')}/{recipe.file.namespace}/{recipe.file.name}/{node}")


class Spreader:
    """Runs one node's asking through an executor, in a folder of its own for each fingerprint."""

    def __init__(self, scale: Scale, above: Folder, node: str, fingerprint: str) -> None:
        self._scale = scale
        self._node = node
        self.folder = above.below(fingerprint[:12])

    def split(self, rows: Iterable[Row], record: type[Row], total: int, tick: Tick) -> int:
        """Write each task's rows, as even ranges of the input, and return how many tasks there are.

        What a run of the same fingerprint split already stays as it is, with the same number of tasks.
        """
        plan = self.folder.read(PLAN)
        if plan:
            tasks = int(json.loads(plan)["tasks"])
            if tasks != min(self._scale.tasks, total):
                tick(note=f"goes on with {tasks} tasks, as it began")
            return tasks
        tasks = min(self._scale.tasks, total)
        ordered = iter(rows)
        with tempfile.TemporaryDirectory() as scratch:
            for rank in range(tasks):
                name = input_name(rank)
                place = self.folder.place(name, Path(scratch))
                writer = ShardWriter(place.parent, place.name, record)
                for _ in range(total * rank // tasks, total * (rank + 1) // tasks):
                    writer.add(next(ordered))
                for path in writer.close().values():
                    self.folder.send(path, f"{name}/{path.name}")
        self.folder.write(PLAN, json.dumps({"tasks": tasks, "rows": total}).encode())
        return tasks

    def run(self, job: Job, token: str | None, tick: Tick) -> None:
        """Run every task that is not done.

        Raises:
            BackforthError: tasks failed, or were lost; those that are done are kept.
        """
        self.folder.remove("failed")
        job.write(self.folder)
        order = Order(
            folder=self.folder,
            name=f"backforth-{self._node}",
            tasks=job.tasks,
            workers=self._at_once(job.tasks),
            settings=self._scale.settings,
            token=token,
        )
        module = self._scale.module
        _quiet()
        with _token_in_environment(token), watched(order, tick):
            module.run(order)
        self._judge(order)

    def share(self, asked: Asked, tasks: int) -> Asked:
        """Return one task's share of an endpoint, so that all tasks together keep to the recipe's limits."""
        at_once = self._at_once(tasks)
        rows = max(FEWEST, asked.stop_when.of_at_least // at_once)
        return replace(
            asked,
            concurrency=asked.concurrency and max(1, asked.concurrency // at_once),
            stop_when=asked.stop_when.model_copy(update={"of_at_least": rows}),
        )

    def _at_once(self, tasks: int) -> int:
        return min(self._scale.workers or tasks, tasks)

    def _judge(self, order: Order) -> None:
        failed, missing = order.failed(), order.missing()
        kept = f"{order.tasks - len(missing)} of {order.tasks} tasks are done and kept"
        for rank, reason in failed.items():
            raise BackforthError(f"stages.{self._node}: task {rank}: {reason} ({kept})")
        if missing:
            raise BackforthError(
                f"stages.{self._node}: {len(missing)} tasks were lost, such as {missing[0]}; {kept}. Look "
                f"into {order.folder.address}/datatrove, and run again"
            )


def _quiet() -> None:
    """Keep datatrove's log off the terminal, where the run tells its own."""
    from loguru import logger

    logger.disable("datatrove")


@contextmanager
def _token_in_environment(token: str | None) -> Iterator[None]:
    """Let child processes find the endpoint's token where tasks look for it."""
    before = os.environ.get(TOKEN)
    if token:
        os.environ[TOKEN] = token
    try:
        yield
    finally:
        if token:
            os.environ.pop(TOKEN)
            os.environ.update({TOKEN: before} if before else {})
