"""A node's pinned inputs, as its stage reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from hub_tools.columns import pick_rows, read_rows
from hub_tools.errors import DataError
from hub_tools.hub.provenance import PROVENANCE, Statement
from hub_tools.hub.repository import Hub, Ref
from hub_tools.run.generation.mark import Mark
from hub_tools.run.graph import Graph, Node, Reading
from hub_tools.run.pinning import Pinned
from hub_tools.stages.registry import Tick


class NodeInputs:
    """Implements `stages.registry.Inputs` over repos of the Hub at pinned commits."""

    def __init__(self, node: Node, pinned: Pinned, graph: Graph, hub: Hub, work: Path, tick: Tick) -> None:
        self.name = node.name
        self._node = node
        self._pinned = pinned
        self._graph = graph
        self._hub = hub
        self.work = work
        self.tick = tick

    def rows(self, name: str) -> Iterator[Any]:
        """Stream the rows of an input, in order."""
        kind = self.kind(name)
        assert isinstance(kind, type), "only inputs with a record type have rows"
        return read_rows(kind, self._shards(name), self._origin(name))

    def left(self, name: str, mark: Mark) -> Iterator[Any]:
        """Stream the rows of an input that a mark leaves: those to ask again, then all from its start."""
        kind = self.kind(name)
        assert isinstance(kind, type), "only inputs with a record type have rows"
        shards, origin = self._shards(name), self._origin(name)
        yield from pick_rows(kind, shards, origin, mark.again)
        yield from read_rows(kind, shards, origin, mark.start)

    def names(self) -> Sequence[str]:
        """Return the names of all inputs."""
        return list(self._node.reads)

    def kind(self, name: str) -> type | Literal["model"]:
        """Return the record type of an input's rows, or MODEL."""
        reading = self._node.reads[name]
        if reading.kind is not None:
            return reading.kind
        assert reading.node is not None, "inputs of any kind are nodes"
        return self._graph.nodes[reading.node].stage.writes

    def count(self, name: str) -> int:
        """Return how many rows an input has.

        Raises:
            DataError: it has none.
        """
        import pyarrow.parquet as pq

        count = sum(int(pq.read_metadata(shard).num_rows) for shard in self._shards(name))
        if not count:
            raise DataError(f"stages.{self._node.name} reads {self._origin(name)}, which has no rows")
        return count

    def folder(self, name: str, patterns: Sequence[str] | None = None) -> Path:
        """Return the local snapshot of a model input, or of the files that match the patterns."""
        return self._hub.fetch(self._pinned.refs[name], patterns)

    def published(self, name: str) -> tuple[str, str, str]:
        """Return an input's repo, sha and version."""
        ref = self._pinned.refs[name]
        return ref.repo, ref.sha, ref.revision

    def files(self) -> Sequence[Path]:
        """Return local copies of the source files, in order."""
        return [file.path for file in self._pinned.files]

    def node(self, name: str) -> str:
        """Return the name of the node (or repo) that an input comes from."""
        return self._node.reads[name].node or self._pinned.refs[name].repo

    def statement(self, name: str) -> Statement:
        """Return the provenance statement of an input that a node published."""
        statement = self._hub.statement(self._pinned.refs[name])
        if statement is None:
            raise DataError(f"{self._origin(name)} has no {PROVENANCE}; it was not published by a node")
        return statement

    def _origin(self, name: str) -> str:
        ref, config = self._pinned.refs[name], self._node.reads[name].config
        return f"{ref.repo}@{ref.revision}" + (f" ({config})" if config else "")

    def _shards(self, name: str) -> list[Path]:
        return shards(self._hub, self._pinned.refs[name], self._config(self._node.reads[name]))

    def _config(self, reading: Reading) -> str | None:
        if reading.config is None and reading.node:
            return self._graph.nodes[reading.node].stage.config_name
        return reading.config


def shards(hub: Hub, ref: Ref, config: str | None) -> list[Path]:
    """Fetch the Parquet shards of a dataset's config (the card's default one, else all), in order.

    Raises:
        DataError: there is no Parquet file there.
    """
    patterns = [f"data/{config}/*.parquet"] if config else _default_patterns(hub, ref)
    found = [path for name, path in hub.matching(ref, patterns).items() if name.endswith(".parquet")]
    if not found:
        raise DataError(f"{ref.repo}@{ref.revision} has no file like {patterns[0]}")
    return found


def _default_patterns(hub: Hub, ref: Ref) -> list[str]:
    from huggingface_hub import DatasetCard

    readme = hub.file(ref, "README.md")
    card: dict[str, Any] = {}
    if readme:
        card = DatasetCard(readme.read_text(encoding="utf-8")).data.to_dict()  # type: ignore[no-untyped-call]
    configs = [config for config in card.get("configs") or [] if isinstance(config, dict)]
    chosen = next(
        (config for config in configs if config.get("default")), configs[0] if len(configs) == 1 else None
    )
    files = chosen.get("data_files") if chosen else None
    if isinstance(files, str):
        return [files]
    if isinstance(files, list) and files:
        return [entry["path"] if isinstance(entry, dict) else str(entry) for entry in files]
    return ["*.parquet"]
