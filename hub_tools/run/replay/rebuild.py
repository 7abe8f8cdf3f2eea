"""Rebuilds a published node from its statement and recipe: its settings, prompts, seed and inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hub_tools.errors import HubError, RecipeError
from hub_tools.hub.digests import sha256
from hub_tools.hub.provenance import PROVENANCE, SOURCE, Dependency, Statement
from hub_tools.hub.repository import Hub, Ref
from hub_tools.prompts import Prompts
from hub_tools.recipe import Recipe, load
from hub_tools.run.graph import Graph, Node, build
from hub_tools.run.pinning import Pinned, Pinner, SourceFile, settings, short
from hub_tools.run.replay.compare_values import one_line
from hub_tools.run.replay.originals import originals
from hub_tools.stages.registry import Stage, get_stage

RECIPE = "recipe.yaml"
# What a recipe says of the machine that it ran on; above all, whom to ask is for the auditor to say.
ELSEWHERE = ("hub", "work", "prompts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """A node that can run again; `difference` says how its fingerprint differs, empty where it does not."""

    recipe: Recipe
    graph: Graph
    node: Node
    prompts: Prompts
    pinned: Pinned
    difference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Inputs:
    """The dependencies of a statement: repos by the name they are read by, the model asked, source files."""

    refs: Mapping[str, Ref]
    model: Ref | None
    files: Sequence[Dependency]


class _StatedPinner(Pinner):
    """Pins a node to the source files that its statement names; they stand there in one list."""

    stated: Sequence[SourceFile] = ()
    first_place: str | None = None

    def source(self, source: str) -> list[SourceFile]:
        """Return all files for the first place that the settings name, and none for those after it."""
        return list(self.stated) if source == self.first_place else []


def rebuild(
    hub: Hub, ref: Ref, statement: Statement, given: Sequence[Path], endpoint: str | None, work: Path
) -> Rebuilt:
    """Rebuild the node that published a repo; `given` are files and folders that hold its local sources.

    Raises:
        BackforthError: its stage is another version here, its recipe was changed, or an input is gone.
    """
    stage = _stage(ref, statement)
    raw = _recipe(hub, ref, statement)
    inputs = _inputs(statement, raw["stages"] if stage.reads_nodes else stage.reads)
    recipe = Recipe(Path(RECIPE), _as_stated(raw, statement, inputs.model, endpoint))
    try:
        graph = build(recipe)
    except RecipeError as error:
        raise _unreadable(ref, statement, error) from error
    node = _pinned_node(ref, statement, graph.nodes[statement.node], inputs)
    prompts = Prompts(texts=statement.prompts)
    pinner = _StatedPinner(recipe, graph, hub, prompts)
    pinner.stated = originals(hub, ref, inputs.files, given, work / "sources")
    pinner.first_place = next(iter(node.config.files()), None)
    for name, reading in node.reads.items():
        if reading.node:
            pinner.published[reading.node] = _versioned(hub, inputs.refs[name])
    pinned = pinner.pin(node)
    difference = _difference(statement, node, pinned)
    return Rebuilt(
        recipe=recipe, graph=graph, node=node, prompts=prompts, pinned=pinned, difference=difference
    )


def _stage(ref: Ref, statement: Statement) -> Stage:
    stage = get_stage(statement.stage, ref.name)
    if stage.version != statement.stage_version:
        newer = stage.version > statement.stage_version
        way_out = f"install {statement.builder!r}" if newer else "update backforth"
        raise HubError(
            f"{ref.name} was made by version {statement.stage_version} of the stage {stage.name}, and this "
            f"backforth has version {stage.version}; {way_out} to replay it"
        )
    return stage


def _recipe(hub: Hub, ref: Ref, statement: Statement) -> dict[str, Any]:
    """Return the recipe of the commit, once it is known to be the one that the statement names."""
    path = hub.file(ref, RECIPE)
    promised = next((subject.sha256 for subject in statement.subject if subject.name == RECIPE), None)
    if path is None or sha256(path) != promised:
        what = "has no" if path is None else "has another"
        raise HubError(
            f"{ref.name} {what} {RECIPE} than its {PROVENANCE} names; look at `backforth verify {ref.name}`"
        )
    try:
        raw = dict(load(path).raw)
    except (RecipeError, ValueError, RecursionError) as error:
        raise _unreadable(ref, statement, error) from error
    if statement.node not in raw["stages"]:
        raise HubError(f"{RECIPE} of {ref.name} has no node {statement.node!r}, which its {PROVENANCE} names")
    return raw


def _unreadable(ref: Ref, statement: Statement, error: Exception) -> HubError:
    return HubError(
        f"{ref.name} was made by {statement.builder!r}, and this backforth cannot read its recipe as that "
        f"one did: {one_line(error)}"
    )


def _as_stated(
    raw: Mapping[str, Any], statement: Statement, model: Ref | None, endpoint: str | None
) -> dict[str, Any]:
    """Return the recipe with the node's settings, seed and model as stated, to be run on this machine."""
    stages, name = raw["stages"], statement.node
    stated = {key: value for key, value in raw.items() if key not in ELSEWHERE}
    stated["stages"] = {**stages, name: {**(stages[name] or {}), **statement.settings}}
    if statement.seed is not None:
        stated["seed"] = statement.seed
    # Only this node's endpoint will be asked, so that all of them may name its model. How many requests share
    # a batch can change the last bits of a probability, so that this stays as it was.
    stated["endpoints"] = {
        key: {
            "model": f"{model.repo}@{model.sha}" if model else section["model"],
            "url": endpoint,
            "concurrency": section.get("concurrency"),
        }
        for key, section in (raw.get("endpoints") or {}).items()
    }
    return stated


def _inputs(statement: Statement, readable: Mapping[str, Any]) -> _Inputs:
    refs: dict[str, Ref] = {}
    model: Ref | None = None
    files = []
    for dependency in statement.dependencies:
        ref = Ref.parse(dependency.uri)
        if ref is None:
            files += [dependency] if dependency.name == SOURCE else []
        elif dependency.name in readable and dependency.name not in refs:
            refs[dependency.name] = ref
        else:
            model = ref
    return _Inputs(refs=refs, model=model, files=files)


def _pinned_node(ref: Ref, statement: Statement, node: Node, inputs: _Inputs) -> Node:
    """Return the node with the repos that it reads at their stated commits."""
    missing = sorted(node.reads.keys() ^ inputs.refs.keys())
    if node.asks and inputs.model is None:
        missing.append("model")
    if missing or node.stage.name != statement.stage:
        what = f"input {missing[0]!r}" if missing else f"stage {statement.stage!r}"
        raise HubError(f"{PROVENANCE} and {RECIPE} of {ref.name} do not name the same: look at the {what}")
    reads = {}
    for name, pinned in inputs.refs.items():  # in the order in which they were read
        reading = node.reads[name]
        reads[name] = replace(reading, repo=pinned.repo, revision=pinned.sha) if reading.repo else reading
    return replace(node, reads=reads)


def _versioned(hub: Hub, ref: Ref) -> Ref:
    """Return the reference with the version that its commit was published as."""
    statement = hub.statement(ref)
    return replace(ref, version=statement.version) if statement else ref


def _difference(statement: Statement, node: Node, pinned: Pinned) -> str:
    """Say what of a node is not as its fingerprint has it."""
    if pinned.fingerprint == statement.fingerprint:
        return ""
    here, stated = settings(node), statement.settings
    keys = sorted(
        key for key in {*here, *stated} if key not in here or key not in stated or here[key] != stated[key]
    )
    configs = {dependency.name: dependency.config for dependency in statement.dependencies}
    parts = [f"settings.{key}" for key in keys]
    parts += [f"reads.{name}" for name, reading in node.reads.items() if reading.config != configs.get(name)]
    parts += [f"prompt {name}" for name in sorted({*node.stage.prompts} ^ {*statement.prompts})]
    what = ", ".join(parts) + " differ" if parts else "somebody edited it, for its parts give the former"
    return (
        f"the fingerprint is {short(pinned.fingerprint)} here and {short(statement.fingerprint)} in the "
        f"statement: {what}"
    )
