"""Asks the recipe's endpoints about a few rows of each stage, before the run asks about all of them.

Every answer goes into the node's journal under its own key, so that the run has it already.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

from hub_tools.endpoints.client import EndpointClient
from hub_tools.endpoints.pool import Pool
from hub_tools.endpoints.wire import Reply, Request
from hub_tools.hub.repository import Ref
from hub_tools.recipe import Price
from hub_tools.records import Rejected, Row
from hub_tools.run.forecast import Cost, Estimate, Forecast, Pilot, Speed, content_key, forecast, load, save
from hub_tools.run.generation.generate import Asked, Generator, Spent
from hub_tools.run.generation.journal import Journal
from hub_tools.run.generation.serving import Serving
from hub_tools.run.graph import Node
from hub_tools.run.inputs import NodeInputs
from hub_tools.run.lock import locked
from hub_tools.run.pinning import Pinned
from hub_tools.run.run import Run, Step
from hub_tools.run.trainings import pinned_inputs
from hub_tools.stages.registry import Ask, AskConfig, silent

INSTANT = 1e-6  # seconds


class Waits(NamedTuple):
    """A stage that cannot be forecast yet, and why."""

    node: str
    reason: str


class Span(NamedTuple):
    """One answer: when work on it began and ended (monotonic seconds), and its tokens."""

    began: float
    ended: float
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed(Asked):
    """Who is asked, with a watch on every answer; `silent` names servers that do not tell of their queue."""

    spans: list[Span] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)

    def pool(self) -> Pool:
        """Return the pool of its replicas."""
        clients = [_TimedClient(self, url) for url in self.urls]
        return Pool(clients, self.check, tries=self.tries, patience=self.patience, most=self.concurrency)


class _TimedClient(EndpointClient):
    def __init__(self, timed: Timed, url: str) -> None:
        super().__init__(url, timed.token, timed.timeout)
        self._timed = timed

    async def ask(self, request: Request) -> Reply:
        """Send one request, and note how long its answer took."""
        asked = time.monotonic()
        reply = await super().ask(request)
        ended = time.monotonic()
        if reply.queued is None:
            self._timed.silent.append(self.url)
        began = min(ended, asked + (reply.queued or 0.0))
        self._timed.spans.append(Span(began, ended, reply.completion.completion_tokens))
        return reply


class _Reached(NamedTuple):
    """The rows with which a stage's pilot begins, and what they were drawn from."""

    source: str
    total: int
    sampled: Sequence[str]
    rows: Sequence[Row]


def pilot_forecast(
    run: Run, steps: Sequence[Step], rows: int
) -> tuple[list[Forecast], dict[str, Estimate], list[Waits]]:
    """Run a pilot of so many rows a stage; return each stage's forecast, that of all, and what must wait.

    Forecasts are kept in the nodes' work folders, for the report of the run.

    Raises:
        BackforthError: an endpoint is down, or a node is at work in another run.
    """
    with Serving(run.recipe, run.hub, run.work, run.display.say) as serving, run.display.live():
        serving.hired.check()
        found = list(Piloting(run, serving, steps, rows).pilots())
    pilots = [one for one in found if isinstance(one, Pilot)]
    forecasts, whole = forecast(pilots)
    for pilot, one in zip(pilots, forecasts, strict=True):
        save(run.work / pilot.node, pilot.key, one)
    return forecasts, whole, [one for one in found if isinstance(one, Waits)]


class Piloting:
    """Runs the pilot of a recipe, stage by stage, each with what the ones before it made."""

    def __init__(self, run: Run, serving: Serving, steps: Sequence[Step], rows: int) -> None:
        self._run = run
        self._serving = serving
        self._rows = rows
        self._steps = steps
        self._published = {step.node.name: step.found for step in steps if step.found}
        self._made: dict[str, tuple[_Reached, Ask[Any, Any], list[Row]]] = {}

    def pilots(self) -> Iterator[Pilot | Waits]:
        """Yield what each asking stage took, or what it waits for; a stage that is up to date is left out.

        Raises:
            BackforthError: an endpoint is down, or a node is at work in another run.
        """
        for step in self._steps:
            if step.found is None and isinstance(step.node.config, AskConfig):
                yield self._pilot(step.node)

    def _pilot(self, node: Node) -> Pilot | Waits:
        assert node.asks is not None
        model = self._model(node)
        if isinstance(model, str):
            return Waits(node.name, model)
        reached = self._reached(node)
        if isinstance(reached, str):
            return Waits(node.name, reached)
        if not reached.rows:
            return Waits(node.name, f"none of the {len(reached.sampled)} rows of the pilot got here")
        work = self._run.work / node.name
        with locked(work, f"stages.{node.name}"):
            asked = self._serving.asked(node.asks, model)
            timed = Timed(**{item.name: getattr(asked, item.name) for item in fields(asked)})
            costs = self._ask(node, timed, reached)
        key = content_key(node, model.uri, self._run.prompts, self._run.recipe.file.seed)
        return Pilot(
            node=node.name,
            key=key,
            source=reached.source,
            total=reached.total,
            sampled=reached.sampled,
            costs=costs,
            speed=speed(timed.spans, told=not timed.silent) or _speed_before(load(work, key)),
            price=self._price(node.asks),
        )

    def _ask(self, node: Node, timed: Timed, reached: _Reached) -> dict[str, Cost]:
        """Get every row's answers into the journal; return what each took, and keep what came of them."""
        task = node.stage.make(node.config, self._run.prompts.render)
        assert isinstance(task, Ask)
        assert isinstance(node.config, AskConfig)
        progress = self._run.display.node(node.name)
        progress(total=len(reached.rows), note=f"pilot, asking {timed.model}")
        journal = Journal(self._run.work / node.name / "journal.sqlite")
        try:
            seed = self._run.recipe.file.seed
            generator = Generator(node.stage.name, seed, node.config, task, timed, journal)
            asyncio.run(generator.ask_all(reached.rows, progress))
            costs, made = {}, []
            for row in reached.rows:
                spent = Spent()
                (outcome,) = replace(generator, spent=spent).outcomes([row])
                costs[row.id] = Cost(spent.requests, spent.prompt_tokens, spent.completion_tokens)
                if not isinstance(outcome, Rejected):
                    made.append(outcome)
        finally:
            journal.close()
        self._made[node.name] = (reached, task, made)
        progress.finish(f"pilot: {len(made)} of {len(reached.rows)} rows kept")
        return costs

    def _model(self, node: Node) -> Ref | str:
        """Return the model that answers, or why there is none yet."""
        reading = self._run.graph.models[str(node.asks)]
        if reading.repo:
            return self._run.hub.pin(reading.repo, "model", reading.revision)
        found = self._published.get(str(reading.node))
        return found or f"its answers come from {reading.node}, which is yet to be trained"

    def _reached(self, node: Node) -> _Reached | str:
        """Return the rows to begin with: some of its input, or what the pilot of the stage before it made."""
        (name,) = node.reads
        reading = node.reads[name]
        if reading.node is None or reading.node in self._published:
            return self._sample(node, name)
        if reading.node not in self._made:
            return f"it reads {reading.node}, which is not there yet"
        before, task, rows = self._made[reading.node]
        if reading.config == "kept" and task.kept:
            passes = task.kept(iter(rows))
            rows = [row for row in rows if passes(row)]
        return before._replace(rows=rows)

    def _sample(self, node: Node, name: str) -> _Reached:
        refs = pinned_inputs(self._run, node, self._published)
        run, pinned = self._run, Pinned(refs, [], None, "")
        inputs = NodeInputs(node, pinned, run.graph, run.hub, run.work, silent)
        rows = sample(inputs.rows(name), self._rows, self._run.recipe.file.seed)
        source = f"{refs[name].uri} {node.reads[name].config}"
        return _Reached(source, inputs.count(name), [row.id for row in rows], rows)

    def _price(self, endpoint: str) -> Price | None:
        section = self._run.recipe.file.endpoints[endpoint]
        if section.dedicated and not (section.price and section.price.per_hour):
            return Price(per_hour=self._serving.hired.per_hour(endpoint))
        return section.price


def sample(rows: Iterable[Row], count: int, seed: int) -> list[Row]:
    """Return so many rows, chosen by a hash of their ids: the same ones each time, and these among them
    where more are asked for.
    """

    def rank(row: Row) -> bytes:
        return hashlib.sha256(f"{seed}\0pilot\0{row.id}".encode()).digest()

    return heapq.nsmallest(count, rows, key=rank)


def speed(spans: Sequence[Span], *, told: bool) -> Speed | None:
    """Return how fast an endpoint wrote; None where it was not asked.

    Where servers tell what their queues took (`told`), it is the speed until the last request's turn came:
    from then on a pilot does not fill the endpoint any more, as a run does. Else it is the pilot's own.
    """
    if not any(span.tokens for span in spans):
        return None
    since = min(span.began for span in spans)
    until = max(span.ended for span in spans)
    if told:
        first_end = min(span.ended for span in spans)
        until = max(first_end, *(span.began for span in spans))
    took = max(until - since, INSTANT)
    at_work = [max(0.0, min(span.ended, until) - span.began) for span in spans]
    tokens = sum(
        span.tokens * seconds / max(span.ended - span.began, INSTANT)
        for span, seconds in zip(spans, at_work, strict=True)
    )
    return Speed(tokens / took, max(1, round(sum(at_work) / took)))


def _speed_before(record: Mapping[str, Any] | None) -> Speed | None:
    """Return the speed of an earlier pilot, for one whose answers were all there."""
    return Speed(**record["speed"]) if record and record.get("speed") else None
