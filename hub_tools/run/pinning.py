"""Pins what a node is made of, and turns it into the node's fingerprint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any

from hub_tools.errors import DataError
from hub_tools.hub.digests import sha256
from hub_tools.hub.fingerprint import fingerprint
from hub_tools.hub.repository import Hub, Ref
from hub_tools.prompts import Prompts
from hub_tools.recipe import Recipe
from hub_tools.run.bases import check_access, check_base
from hub_tools.run.graph import Graph, Node, Reading
from hub_tools.stages.registry import MODEL, AskConfig
from training.settings import TrainSettings

HUB_FILES = "hf://datasets/"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A source file: where it lies now, what it is called, and its sha256."""

    path: Path
    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Pinned:
    """Everything a node is made of, at fixed revisions; `model` is what its endpoint must serve."""

    refs: Mapping[str, Ref]
    files: Sequence[SourceFile]
    model: Ref | None
    fingerprint: str


class Pinner:
    """Pins nodes; `published` is filled by the runner as nodes are found or made."""

    def __init__(self, recipe: Recipe, graph: Graph, hub: Hub, prompts: Prompts) -> None:
        self._recipe = recipe
        self._graph = graph
        self._hub = hub
        self._prompts = prompts
        self._outside: dict[tuple[str, str | None, str], Ref] = {}
        self._files: dict[str, list[SourceFile]] = {}
        self.published: dict[str, Ref] = {}

    def ready(self, node: Node) -> bool:
        """Whether everything that the node needs of other nodes is published."""
        return all(parent in self.published for parent in self._graph.parents(node))

    def pin(self, node: Node) -> Pinned:
        """Pin a node's inputs and compute its fingerprint; its parents must be published."""
        refs = {name: self._ref(reading) for name, reading in node.reads.items()}
        files = [file for source in node.config.files() for file in self.source(source)]
        model = self._ref(self._graph.models[node.asks]) if node.asks else None
        made_of = fingerprint(
            stage=(node.stage.name, node.stage.version),
            settings=settings(node),
            prompts=self._prompts.texts(node.stage.prompts),
            inputs={name: (ref.uri, node.reads[name].config) for name, ref in refs.items()},
            files=[file.sha256 for file in files],
            model=model.uri if model else None,
            seed=self._recipe.file.seed if isinstance(node.config, AskConfig) else None,
        )
        return Pinned(refs, files, model, made_of)

    def first_model(self) -> Ref | None:
        """Return the first model of the recipe that is there: its tokenizer measures texts for the cards."""
        inputs = [reading for node in self._graph.nodes.values() for reading in node.reads.values()]
        for reading in [*inputs, *self._graph.models.values()]:
            if reading.kind == MODEL and (reading.repo or reading.node in self.published):
                return self._ref(reading)
        return None

    def check(self) -> None:
        """Pin everything outside the recipe before anything runs: repos of the Hub and source files."""
        for node in self._graph.nodes.values():
            for source in node.config.files():
                self.source(source)
            for reading in node.reads.values():
                if reading.repo:
                    self._ref(reading)
            for name in node.stage.prompts:
                self._prompts.text(name)
        for reading in self._graph.models.values():
            if reading.repo:
                self._ref(reading)

    def check_bases(self) -> None:
        """Check the bases of trainings that no node makes: may they be read, and can they be trained?

        Raises:
            BackforthError: one line names the node and the way out.
        """
        readable: set[Ref] = set()
        for node in self._graph.nodes.values():
            reading = node.reads.get("base")
            if reading and reading.repo and isinstance(node.config, TrainSettings):
                base, where = self._ref(reading), f"stages.{node.name}.reads.base"
                if base not in readable:
                    check_access(self._hub, base, where)
                    readable.add(base)
                check_base(self._hub, node.config, base, where)

    def _ref(self, reading: Reading) -> Ref:
        if reading.node:
            return self.published[reading.node]
        assert reading.repo is not None
        kind = "model" if reading.kind == "model" else "dataset"
        key = (reading.repo, reading.revision, kind)
        if key not in self._outside:
            self._outside[key] = self._hub.pin(reading.repo, kind, reading.revision)  # type: ignore[arg-type]
        return self._outside[key]

    def source(self, source: str) -> list[SourceFile]:
        """Return the files that a source names: a path or glob beside the recipe, or `hf://datasets/REPO@REVISION/FILE`.

        Raises:
            DataError: there is no such file.
        """
        if source not in self._files:
            found = self._hub_files(source) if source.startswith(HUB_FILES) else self._local_files(source)
            if not found:
                raise DataError(
                    f"{source}: there is no such file; a path starts from {self._recipe.where}'s folder"
                )
            self._files[source] = found
        return self._files[source]

    def _local_files(self, source: str) -> list[SourceFile]:
        paths = sorted(Path(path) for path in glob(str(self._recipe.folder / source), recursive=True))
        return [SourceFile(path, path.name, sha256(path)) for path in paths if path.is_file()]

    def _hub_files(self, source: str) -> list[SourceFile]:
        owner, name, pattern = [*source.removeprefix(HUB_FILES).split("/", 2), "", ""][:3]
        name, _, revision = name.partition("@")
        ref = self._hub.pin(f"{owner}/{name}", "dataset", revision or None)
        found = self._hub.matching(ref, [pattern])
        return [SourceFile(path, f"{ref.uri}/{name}", sha256(path)) for name, path in found.items()]


def settings(node: Node) -> dict[str, Any]:
    """Return a node's settings as they count: every one but the places of its source files."""
    places = set(node.config.files())
    return {
        key: value
        for key, value in node.config.model_dump(mode="json").items()
        if not (isinstance(value, str) and value in places)
    }


def short(fingerprint: str) -> str:
    """Return the first 12 digits, as people read them."""
    return fingerprint[:12]
