"""Runs one node: its stage over its pinned inputs, into files that can be published."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hub_tools.columns import read_rows
from hub_tools.errors import DataError
from hub_tools.hub.repository import Hub
from hub_tools.prompts import Prompts
from hub_tools.recipe import Recipe
from hub_tools.records import Rejected, Row
from hub_tools.run import forecast
from hub_tools.run.executors.job import Job, gathered
from hub_tools.run.executors.scale import TASKS, Scale, Spreader, tasks_folder
from hub_tools.run.generation.generate import Asked, Generator, Spent
from hub_tools.run.generation.journal import Journal
from hub_tools.run.generation.mark import Mark
from hub_tools.run.generation.serving import Serving
from hub_tools.run.graph import Graph, Node
from hub_tools.run.inputs import NodeInputs
from hub_tools.run.outcome import Made
from hub_tools.run.pinning import Pinned
from hub_tools.run.publishing.parquet import ShardWriter
from hub_tools.stages.registry import Ask, AskConfig, Build, Extras, Tick, Transform


class Runner:
    """Runs nodes of one recipe; it knows nothing of what the stages are about."""

    def __init__(
        self,
        recipe: Recipe,
        graph: Graph,
        hub: Hub,
        prompts: Prompts,
        serving: Serving,
        scale: Scale | None = None,
    ) -> None:
        self._recipe = recipe
        self._graph = graph
        self._hub = hub
        self._prompts = prompts
        self._serving = serving
        self._scale = scale

    def run(self, node: Node, pinned: Pinned, work: Path, tick: Tick) -> Made:
        """Run a node's stage; what it makes lies in `work` until `clean` is called.

        Raises:
            DataError: it made no row at all.
        """
        began = time.monotonic()
        inputs = NodeInputs(node, pinned, self._graph, self._hub, work, tick)
        made = Made(node=node, pinned=pinned, started=datetime.now(UTC), seconds=0.0, files={})
        task = node.stage.make(node.config, self._prompts.render)
        if isinstance(task, Build):
            self._build(task, inputs, made)
        elif isinstance(task, Transform):
            self._write(task.rows(inputs), made, work, tick)
            made.extras = task.extras()
        else:
            self._generate(task, inputs, made, work)
        made.seconds = time.monotonic() - began
        return made

    def clean(self, made: Made, work: Path) -> None:
        """Delete what a published node left behind, but for answers' journals and what its model keeps."""
        kept = {TASKS, *(made.model.keep if made.model else ())}
        for entry in work.iterdir():
            if entry.is_dir() and entry.name not in kept:
                shutil.rmtree(entry)
        tasks_folder(self._scale, self._recipe, made.node.name, work).clean()

    def _build(self, task: Build, inputs: NodeInputs, made: Made) -> None:
        model = task.build(inputs)
        made.model = model
        made.read, made.rejects = model.read, model.rejects
        paths = sorted(path for path in model.folder.rglob("*") if path.is_file())
        made.files = {path.relative_to(model.folder).as_posix(): path for path in paths}

    def _generate(self, task: Ask[Any, Any], inputs: NodeInputs, made: Made, work: Path) -> None:
        node, model = made.node, made.pinned.model
        assert model is not None
        assert node.asks is not None
        assert isinstance(node.config, AskConfig)
        (name,) = node.reads
        inputs.tick(total=inputs.count(name), note=f"asking {model.repo}")
        asked = self._serving.asked(node.asks, model)
        made.endpoint = asked.kind
        if self._scale:
            self._spread(self._scale, inputs, made, work, asked)
        else:
            self._ask(task, inputs, made, work, asked)
        key = forecast.content_key(node, model.uri, self._prompts, self._recipe.file.seed)
        made.forecast = forecast.load(work, key)
        self._choose(task, made, work)

    def _ask(self, task: Ask[Any, Any], inputs: NodeInputs, made: Made, work: Path, asked: Asked) -> None:
        node, (name,) = made.node, made.node.reads
        assert isinstance(node.config, AskConfig)
        journal = Journal(work / "journal.sqlite")
        try:
            generator = Generator(node.stage.name, self._recipe.file.seed, node.config, task, asked, journal)
            mark = Mark(journal, made.pinned.fingerprint)
            inputs.tick(mark.start - len(mark.again))
            asyncio.run(generator.ask_all(inputs.left(name, mark), inputs.tick, mark))
            self._write(generator.outcomes(inputs.rows(name)), made, work, None)
        finally:
            journal.close()
        made.spent = generator.spent

    def _spread(self, scale: Scale, inputs: NodeInputs, made: Made, work: Path, asked: Asked) -> None:
        """Ask in tasks, on other machines perhaps, and write what they made as one."""
        node, (name,) = made.node, made.node.reads
        assert isinstance(node.config, AskConfig)
        record = inputs.kind(name)
        assert isinstance(record, type)
        above = tasks_folder(scale, self._recipe, node.name, work)
        spreader = Spreader(scale, above, node.name, made.pinned.fingerprint)
        tasks = spreader.split(inputs.rows(name), record, inputs.count(name), inputs.tick)
        texts, seed = self._prompts.texts(node.stage.prompts), self._recipe.file.seed
        job = Job.of(node.stage.name, node.config, texts, seed, tasks, spreader.share(asked, tasks))
        spreader.run(job, asked.token, inputs.tick)
        made.spent = Spent()
        rows = gathered(spreader.folder, job, work / "gathered", made.spent, f"stages.{node.name}")
        self._write(rows, made, work, None)

    def _write(self, rows: Iterable[Row | Rejected], made: Made, work: Path, tick: Tick | None) -> None:
        """Write rows and rejects to shards, and count every one."""
        stage = made.node.stage
        assert isinstance(stage.writes, type)
        kept = ShardWriter(work / "out", stage.config_name, stage.writes)
        rejects = ShardWriter(work / "out", "rejected", Rejected)
        reasons: Counter[str] = Counter()
        details: dict[str, str] = {}
        for row in rows:
            if isinstance(row, Rejected):
                rejects.add(row)
                reasons[row.reason] += 1
                details.setdefault(row.reason, row.detail)
            else:
                kept.add(row)
                made.statistics.add(row)
            if tick:
                tick(1, rejected=isinstance(row, Rejected))
        if not kept.rows:
            told = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common()) or "it read none"
            raise DataError(
                f"stages.{made.node.name} kept no row at all ({told}); look at its settings and inputs"
            )
        made.files = {**kept.close(), **rejects.close()}
        made.rows = {kept.config: kept.rows, "rejected": rejects.rows}
        made.rejects = dict(sorted(reasons.items()))
        made.reject_details = {reason: detail for reason, detail in details.items() if detail}
        made.read = kept.rows + rejects.rows

    def _choose(self, task: Ask[Any, Any], made: Made, work: Path) -> None:
        """Write the config `kept`, where the stage has one, and the stage's note on its rows."""
        stage = made.node.stage
        assert isinstance(stage.writes, type)
        record = stage.writes
        shards = [path for name, path in made.files.items() if name.startswith(f"data/{stage.config_name}/")]

        def rows() -> Iterator[Any]:
            return read_rows(record, shards, made.node.name)

        if task.note:
            made.extras = Extras(notes=[task.note(rows())])
        if task.kept:
            passes = task.kept(rows())
            writer = ShardWriter(work / "out", "kept", record)
            for row in rows():
                if passes(row):
                    writer.add(row)
            made.files = {**made.files, **writer.close()}
            first, *rest = made.rows.items()
            made.rows = dict([first, ("kept", writer.rows), *rest])
