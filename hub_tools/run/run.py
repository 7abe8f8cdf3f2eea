"""Runs a recipe: preflight, then each node in order unless its fingerprint is published already."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hub_tools.errors import BackforthError, HubError, RecipeError
from hub_tools.hub.provenance import PROVENANCE
from hub_tools.hub.publishing import collect
from hub_tools.hub.repository import Hub, Ref
from hub_tools.prompts import Prompts
from hub_tools.recipe import EMBEDDED, Recipe
from hub_tools.run.executors.scale import Scale
from hub_tools.run.generation.serving import Serving
from hub_tools.run.graph import Graph, Node, build
from hub_tools.run.lock import locked
from hub_tools.run.outcome import Outcome
from hub_tools.run.pinning import Pinned, Pinner, short
from hub_tools.run.progress import Display
from hub_tools.run.publishing.cards import Facts
from hub_tools.run.publishing.publish import Publisher
from hub_tools.run.runner import Runner
from hub_tools.run.stopping import stoppable


@dataclass(frozen=True, slots=True)
class Step:
    """What `plan` says of a node: its fingerprint, once its inputs are known, and the version that has it."""

    node: Node
    fingerprint: str | None
    found: Ref | None
    waits_for: str | None


class Run:
    """One recipe bound to its Hub. Building it checks the recipe; nothing has run yet."""

    def __init__(self, recipe: Recipe, display: Display | None = None) -> None:
        self.recipe = recipe
        self.graph: Graph = build(recipe)
        self.display = display or Display()
        self.prompts = Prompts(_folder(recipe))
        self.hub = open_hub(recipe)
        self._pinner = Pinner(recipe, self.graph, self.hub, self.prompts)

    @property
    def work(self) -> Path:
        """The folder of this recipe's work in flight."""
        return Path(self.recipe.file.work) / self.recipe.file.namespace / self.recipe.file.name

    def plan(self) -> Iterator[Step]:
        """Tell for every node whether it is up to date; a node after one that must run is not known yet."""
        self._pinner.check()
        self._pinner.check_bases()
        for node in self.graph.nodes.values():
            if not self._pinner.ready(node):
                missing = [p for p in self.graph.parents(node) if p not in self._pinner.published]
                yield Step(node, None, None, missing[0])
                continue
            pinned, found = self._look(node)
            yield Step(node, pinned.fingerprint, found, None)

    def run(self, only: str | None = None, scale: Scale | None = None) -> Iterator[Outcome]:
        """Run what is not up to date, in order; with `only`, that node alone; with `scale`, in tasks.

        Raises:
            BackforthError: with one line that says what is wrong; what was published stays, and `run` goes on
            from there.
        """
        if only and only not in self.graph.nodes:
            raise RecipeError(
                f"--only {only}: there is no such node; there are {', '.join(self.graph.nodes)}"
            )
        if scale:
            scale.check(self.recipe, self.graph)
        self.hub.check_access(self.recipe.file.namespace)
        self._pinner.check()
        say = self.display.say
        at = "before anything ran"
        with (
            stoppable(lambda: at),
            Serving(self.recipe, self.hub, self.work, say) as serving,
            self.display.live(),
        ):
            runner = Runner(self.recipe, self.graph, self.hub, self.prompts, serving, scale)
            facts = Facts(self.recipe, self.graph, self.hub, self.prompts, self._pinner)
            publisher = Publisher(self.recipe, self.hub, self.prompts, facts)
            checked = False
            for node in self._wanted(only):
                at = f"stages.{node.name}"
                pinned, found = self._look(node)
                if found is None and only and node.name != only:
                    raise BackforthError(
                        f"--only {only} needs {node.name}, which is not up to date; run without --only"
                    )
                if found is None and not checked:
                    self._pinner.check_bases()
                    serving.check(self._pinner.published)
                    checked = True
                yield self._up_to_date(node, found) if found else self._make(node, pinned, runner, publisher)
        if checked:
            self._collect()

    def _collect(self) -> None:
        """Link the run's repos in one collection; a token that may not do so costs no result."""
        name, namespace = self.recipe.file.name, self.recipe.file.namespace
        title = f"{name}: a backforth run"
        description = "Every dataset and model of one recipe, from the corpus to the trained model."
        try:
            address = collect(self.hub, namespace, title, description, self._pinner.published.values())
        except HubError as error:
            self.display.say(f"The repos are not linked in a collection: {error}")
        else:
            self.display.say(f"[bold]{'collection':<16}[/] {address}")

    def _wanted(self, only: str | None) -> Iterator[Node]:
        """Yield the nodes to look at: all, or one with everything that it is made of."""
        needed = set(self.graph.nodes) if only is None else {only}
        for name in reversed(list(self.graph.nodes)):
            if name in needed:
                needed.update(self.graph.parents(self.graph.nodes[name]))
        yield from (node for name, node in self.graph.nodes.items() if name in needed)

    def _look(self, node: Node) -> tuple[Pinned, Ref | None]:
        pinned = self._pinner.pin(node)
        found = self.hub.find(node.repo, node.kind, pinned.fingerprint)
        if found:
            self._pinner.published[node.name] = found
        return pinned, found

    def _up_to_date(self, node: Node, ref: Ref) -> Outcome:
        statement = self.hub.statement(ref)
        if statement is None:
            raise BackforthError(
                f"{ref.repo}@{ref.version} has no {PROVENANCE}; delete its tag {ref.version} and run again"
            )
        self.display.say(f"[bold]{node.name:<16}[/] up to date: {ref.repo}@{ref.version}")
        return Outcome.of(node.name, "up to date", ref, statement)

    def _make(self, node: Node, pinned: Pinned, runner: Runner, publisher: Publisher) -> Outcome:
        work = self.work / node.name
        with locked(work, f"stages.{node.name}"):
            progress = self.display.node(node.name)
            made = runner.run(node, pinned, work, progress)
            ref, statement = publisher.publish(made, progress)
            runner.clean(made, work)
        self._pinner.published[node.name] = ref
        outcome = Outcome.of(node.name, "ran", ref, statement)
        progress.finish(
            f"{ref.repo}@{ref.version} [dim]{short(pinned.fingerprint)}[/] in {made.seconds:.0f} s"
        )
        return outcome


def open_hub(recipe: Recipe) -> Hub:
    """Return the recipe's Hub; the embedded one is started if it is not up."""
    section = recipe.file.hub
    if section.endpoint == EMBEDDED:
        from hub_tools.hub.server import HubServerError
        from hub_tools.hub.server.daemon import ensure, owner

        store = Path(section.store)
        try:
            address = ensure(store, section.port, owner(store, recipe.file.namespace))
        except HubServerError as error:
            raise BackforthError(f"{recipe.where}: the embedded Hub did not start: {error}") from error
        return Hub(address.endpoint, address.token, section.private)
    return Hub(section.endpoint, os.environ.get("HF_TOKEN") or _stored_token(), section.private)


def _stored_token() -> str | None:
    from huggingface_hub import get_token

    return get_token()


def _folder(recipe: Recipe) -> Path | None:
    if recipe.file.prompts is None:
        return None
    folder = recipe.folder / recipe.file.prompts
    if not folder.is_dir():
        raise RecipeError(f"{recipe.where}: prompts is {recipe.file.prompts!r}, and there is no such folder")
    return folder
