"""The graph of a recipe: its nodes, what each reads and asks, and their order."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any, Literal

from hub_tools.errors import RecipeError
from hub_tools.recipe import Recipe, parse
from hub_tools.records import Row
from hub_tools.stages.registry import MODEL, AskConfig, Stage, StageConfig, get_stage

WIRING = ("stage", "reads", "asks", "repo")
NODE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
HUB_ADDRESS = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+?))?(?::(?P<config>[\w-]+))?")
SIZE = re.compile(r"(?:^|[-_])(\d+(?:\.\d+)?[bm])(?=$|[-_.])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reading:
    """One input of a node: a node of this recipe (`node`), or a repo on the Hub at a revision."""

    kind: type[Row] | Literal["model"] | None
    node: str | None = None
    repo: str | None = None
    revision: str | None = None
    config: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node: a stage with its settings, its inputs by name, the endpoint it asks, and the repo it
    publishes.
    """

    name: str
    stage: Stage
    config: StageConfig
    reads: Mapping[str, Reading]
    asks: str | None
    repo: str

    @property
    def kind(self) -> Literal["model", "dataset"]:
        """What its repo is."""
        return "model" if self.stage.writes == MODEL else "dataset"


@dataclass(frozen=True, slots=True)
class Graph:
    """All nodes in an order in which they can run, and the models of the endpoints."""

    nodes: Mapping[str, Node]
    models: Mapping[str, Reading]

    def parents(self, node: Node) -> Iterator[str]:
        """Yield the names of the nodes that must be published before this one can run."""
        readings = list(node.reads.values()) + ([self.models[node.asks]] if node.asks else [])
        yield from (reading.node for reading in readings if reading.node)


def build(recipe: Recipe) -> Graph:
    """Check every node's settings and wiring, and order the nodes.

    Raises:
        RecipeError: an unknown stage or setting, an input that is not there, a circle.
    """
    names = list(recipe.file.stages)
    nodes = {name: _node(recipe, name, settings or {}) for name, settings in recipe.file.stages.items()}
    models = {
        name: _reading(recipe, f"endpoints.{name}.model", endpoint.model, MODEL)
        for name, endpoint in recipe.file.endpoints.items()
    }
    graph = Graph(nodes, models)
    for node in nodes.values():
        _check_inputs(recipe, node, nodes)
    for name, reading in models.items():
        _check_model(recipe, f"endpoints.{name}.model", reading, nodes)
    repos: dict[str, str] = {}
    for node in nodes.values():
        if node.repo in repos:
            raise RecipeError(
                f"{recipe.where}: stages.{node.name} and stages.{repos[node.repo]} would both "
                f"publish {node.repo}; "
                f"give one of them a `repo:` of its own"
            )
        repos[node.repo] = node.name
    try:
        parents = {node.name: sorted(set(graph.parents(node)), key=names.index) for node in nodes.values()}
        order = list(TopologicalSorter(parents).static_order())
    except CycleError as error:
        raise RecipeError(
            f"{recipe.where}: the stages read each other in a circle: {' -> '.join(error.args[1])}"
        ) from error
    return Graph({name: nodes[name] for name in _in_file_order(order, names, parents)}, models)


def _in_file_order(order: list[str], names: list[str], parents: Mapping[str, list[str]]) -> list[str]:
    """Return the order nearest to the file's own in which every node comes after those it needs."""
    done: list[str] = []
    while len(done) < len(order):
        done.append(next(n for n in names if n not in done and all(p in done for p in parents[n])))
    return done


def _node(recipe: Recipe, name: str, settings: Mapping[str, Any]) -> Node:
    where = f"{recipe.where}: stages.{name}"
    if not NODE_NAME.fullmatch(name):
        raise RecipeError(f"{where}: a node's name holds lower-case letters, digits, - and _ only")
    wiring = {key: settings[key] for key in WIRING if key in settings}
    stage = get_stage(str(wiring.get("stage", name)), where)
    own = {key: value for key, value in settings.items() if key not in WIRING}
    config: StageConfig = parse(stage.config, own, recipe.where, f"stages.{name}")
    asks = wiring.get("asks", stage.asks)
    if asks is not None and asks not in list(recipe.file.endpoints):  # it may be no text at all
        have = ", ".join(recipe.file.endpoints) or "none"
        raise RecipeError(
            f"{where} asks the endpoint {asks!r}, which `endpoints` does not have; it has {have}"
        )
    reads = _reads(recipe, name, stage, wiring.get("reads"))
    return Node(
        name=name,
        stage=stage,
        config=config,
        reads=reads,
        asks=asks,
        repo=_repo(recipe, name, stage, reads, wiring),
    )


def _reads(recipe: Recipe, name: str, stage: Stage, given: Any) -> dict[str, Reading]:
    where = f"stages.{name}.reads"
    if stage.reads_nodes:
        others = [other for other in recipe.file.stages if other != name] if given is None else given
        if not isinstance(others, list):
            raise RecipeError(f"{recipe.where}: {where} is {given!r}; write a list of nodes")
        absent = [other for other in others if other not in list(recipe.file.stages)]
        if absent:
            raise RecipeError(f"{recipe.where}: {where} names {absent[0]!r}, which is no node of this recipe")
        return {str(other): _reading(recipe, where, str(other), None) for other in others}
    if given is not None and not isinstance(given, dict):
        raise RecipeError(
            f"{recipe.where}: {where} is {given!r}; write a mapping, such as "
            f"{{{next(iter(stage.reads), 'x')}: NODE}}"
        )
    unknown = sorted(set(given or {}) - set(stage.reads))
    if unknown:
        known = ", ".join(stage.reads) or "nothing"
        raise RecipeError(f"{recipe.where}: {where}.{unknown[0]}: the stage {stage.name} reads {known}")
    reads = {}
    for key, needed in stage.reads.items():
        target = (given or {}).get(key, needed.default)
        if target is None:
            raise RecipeError(
                f"{recipe.where}: {where}.{key} is missing; name a node, or a Hub repo as ns/name@revision"
            )
        reads[key] = _reading(recipe, f"{where}.{key}", str(target), needed.kind)
    return reads


def _reading(recipe: Recipe, where: str, target: str, kind: type[Row] | Literal["model"] | None) -> Reading:
    node, _, config = target.partition("/")
    if node in recipe.file.stages:
        return Reading(kind, node=node, config=config or None)
    match = HUB_ADDRESS.fullmatch(target)
    if not match:
        have = ", ".join(recipe.file.stages)
        raise RecipeError(
            f"{recipe.where}: {where} names {target!r}, which is no node of this recipe ({have}) "
            f"and no ns/name@revision"
        )
    return Reading(kind, repo=match["repo"], revision=match["revision"], config=match["config"])


def _check_inputs(recipe: Recipe, node: Node, nodes: Mapping[str, Node]) -> None:
    for key, reading in node.reads.items():
        where = f"stages.{node.name}.reads.{key}"
        if reading.kind == MODEL:
            _check_model(recipe, where, reading, nodes)
        elif reading.node and reading.kind is not None:
            written = nodes[reading.node].stage.writes
            if written != reading.kind:
                made = written if isinstance(written, str) else f"{written.__name__} rows"
                raise RecipeError(
                    f"{recipe.where}: {where} is {reading.node!r}, which makes {made}; "
                    f"the stage {node.stage.name} reads {reading.kind.__name__} rows"
                )
    if isinstance(node.config, AskConfig) and node.asks is None:
        raise RecipeError(f"{recipe.where}: stages.{node.name}.asks is missing; name one of the endpoints")


def _check_model(recipe: Recipe, where: str, reading: Reading, nodes: Mapping[str, Node]) -> None:
    if reading.node and nodes[reading.node].kind != MODEL:
        raise RecipeError(f"{recipe.where}: {where} is {reading.node!r}, which makes rows and no model")


def _repo(
    recipe: Recipe, name: str, stage: Stage, reads: Mapping[str, Reading], wiring: Mapping[str, Any]
) -> str:
    """Name the repo: `{name}-{stage's word for it}` and, for a model, its base's size or else name."""
    if "repo" in wiring:
        return f"{recipe.file.namespace}/{wiring['repo']}"
    suffix = stage.repo + name.removeprefix(stage.name) if name.startswith(stage.name) else name
    if stage.writes == MODEL:
        suffix += f"-{_base_word(recipe, name, reads)}"
    return f"{recipe.file.namespace}/{recipe.file.name}-{suffix}"


def _base_word(recipe: Recipe, name: str, reads: Mapping[str, Reading]) -> str:
    base = reads.get("base")
    repo = (base.repo or (recipe.file.stages.get(base.node or "") or {}).get("repo") or "") if base else ""
    word = str(repo).rpartition("/")[2]
    if not word:
        raise RecipeError(
            f"{recipe.where}: stages.{name}: its base has no repo of its own; set `repo:` yourself"
        )
    found = SIZE.search(word)
    return (found[1] if found else word).lower()
