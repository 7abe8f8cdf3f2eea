"""Replays a published node from its own provenance: does it make the same rows, or weights, again?"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset_cards.escape import visible
from hub_tools.errors import HubError
from hub_tools.hub.provenance import PROVENANCE, Statement, versions
from hub_tools.hub.repository import Hub, Ref
from hub_tools.run.generation.serving import Serving
from hub_tools.run.outcome import Made
from hub_tools.run.replay.compare_files import ModelFile, compare_file
from hub_tools.run.replay.compare_rows import Rows, compare_rows
from hub_tools.run.replay.compare_values import Column
from hub_tools.run.replay.rebuild import rebuild
from hub_tools.run.runner import Runner
from hub_tools.stages.registry import Tick, silent

SHARDS = "data/*.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What came of a replay: every config or model file compared, and what may excuse a difference.

    `fingerprint` says how the node's differs from the stated one, if it does; `excuses` are what is not the
    same here as it was then: libraries, and the kind of endpoint.
    """

    ref: Ref
    node: str
    stage: str
    parts: Sequence[Rows | ModelFile]
    fingerprint: str
    excuses: Sequence[str]
    seconds: float

    @property
    def identical(self) -> bool:
        """Whether all rows, or all files of the model, are the published ones."""
        return all(part.identical for part in self.parts)

    def record(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        parts = [
            {
                "kind": "rows" if isinstance(part, Rows) else "file",
                "identical": part.identical,
                **dataclasses.asdict(part),
            }
            for part in self.parts
        ]
        return {**dataclasses.asdict(self), "identical": self.identical, "parts": parts}

    def sentences(self) -> Iterator[str]:
        """Yield what there is to say, one line each, safe to print as plain text."""
        for part in self.parts:
            yield from _rows(part) if isinstance(part, Rows) else _file(part)
        if self.fingerprint:
            yield visible(self.fingerprint)
        open_question = any(not part.identical and not part.as_stated for part in self.parts)
        if open_question and self.excuses:
            yield visible(f"honest reasons for a difference: {'; '.join(self.excuses)}")


def replay(
    hub: Hub,
    address: str,
    sources: Sequence[Path] = (),
    endpoint: str | None = None,
    tick: Tick = silent,
) -> Replay:
    """Run the node that published `ns/name[@revision]` again, publish nothing, and compare what it makes.

    `sources` are files and folders that hold its local source files, found by their sha256; `endpoint` is a
    server that serves its model, by default the embedded one. It runs in a temporary folder.

    Raises:
        BackforthError: it is no node's repo, or the node cannot be replayed with what is here.
    """
    began = time.monotonic()
    ref = hub.locate(address)
    statement = hub.statement(ref)
    if statement is None:
        raise HubError(
            f"{ref.name} has no {PROVENANCE}: backforth did not publish it, so it cannot replay it"
        )
    with tempfile.TemporaryDirectory(prefix="backforth-replay-") as folder:
        work = Path(folder)
        rebuilt = rebuild(hub, ref, statement, sources, endpoint, work)
        with Serving(rebuilt.recipe, hub, work) as serving:
            runner = Runner(rebuilt.recipe, rebuilt.graph, hub, rebuilt.prompts, serving)
            with _same_threads(statement):
                made = runner.run(rebuilt.node, rebuilt.pinned, work, tick)
        tick(note="comparing")
        parts = _files(hub, ref, statement, made) if made.model else _configs(hub, ref, statement, made)
    return Replay(
        ref=ref,
        node=statement.node,
        stage=statement.stage,
        parts=parts,
        fingerprint=rebuilt.difference,
        excuses=_excuses(statement, made),
        seconds=time.monotonic() - began,
    )


@contextmanager
def _same_threads(statement: Statement) -> Iterator[None]:
    """Compute with as many threads as the published model was made with: sums of floats depend on it."""
    threads = statement.run.get("threads")
    if not isinstance(threads, int) or threads < 1:
        yield
        return
    from training.process import torch_threads

    with torch_threads(threads):
        yield


def _configs(hub: Hub, ref: Ref, statement: Statement, made: Made) -> list[Rows]:
    published = hub.matching(ref, [SHARDS])
    stated = _stated(statement)
    configs = dict.fromkeys(name.split("/")[1] for name in [*made.files, *published])
    return [
        compare_rows(config, _of(config, published), _of(config, made.files), stated) for config in configs
    ]


def _of(config: str, files: Mapping[str, Path]) -> dict[str, Path]:
    return {name: path for name, path in files.items() if name.startswith(f"data/{config}/")}


def _files(hub: Hub, ref: Ref, statement: Statement, made: Made) -> list[ModelFile]:
    """Compare all files that the training wrote, and all weights that are published."""
    published = hub.matching(ref, [*made.files, "*.safetensors"])
    stated = _stated(statement)
    return [
        compare_file(name, published.get(name), made.files.get(name), stated.get(name))
        for name in sorted({*made.files, *published})
    ]


def _stated(statement: Statement) -> dict[str, str]:
    return {subject.name: subject.sha256 for subject in statement.subject}


def _excuses(statement: Statement, made: Made) -> list[str]:
    """Name what is not as it was: it may change the last bits of numbers, and so the choice of a token."""
    then, now = statement.predicate.run.builder.version, versions()
    excuses = [
        f"{name} {now.get(name, 'is not here')}, then {then.get(name, 'none')}"
        for name in sorted({*then, *now})
        if then.get(name) != now.get(name)
    ]
    generation = statement.run.get("generation")
    asked = generation.get("endpoint") if isinstance(generation, dict) else None
    if made.endpoint and made.endpoint != asked:
        excuses.append(f"the endpoint is of the kind {made.endpoint}, then {asked}")
    if made.endpoint or made.model:
        excuses.append("another processor, GPU, number of threads or of requests at once may round otherwise")
    return excuses


def _rows(part: Rows) -> Iterator[str]:
    config = visible(part.config)
    if part.identical:
        how = "byte for byte" if part.same_bytes else "row by row; the files are packed otherwise"
        yield f"{config}: identical, {part.equal:,} rows, {how}"
        return
    if part.problem:
        yield f"{config}: not identical: {part.problem}"
    else:
        yield (
            f"{config}: not identical: equal rows {part.equal:,}, different {part.different:,}, "
            f"only on the Hub {part.only_published:,}, only in the replay {part.only_replayed:,}"
        )
    if part.first:
        first = part.first
        where = f"row {first.row:,}" + (f", id {first.id}" if first.id else "")
        yield f"{config}: first difference: {where}, column {first.column or '(the whole row)'}"
        yield f"  published: {first.published}"
        yield f"  replayed:  {first.replayed}"
    if part.columns:
        told = ", ".join(map(_column, part.columns, part.columns.values()))
        yield f"{config}: columns that differ, and in how many rows: {told}"
    yield from _blame(config, part)


def _column(name: str, column: Column) -> str:
    apart = "" if column.largest is None else f", by {column.largest:.2g} at most"
    return f"{name} ({column.rows:,}{apart})"


def _file(part: ModelFile) -> Iterator[str]:
    name = visible(part.name)
    if part.identical:
        yield f"{name}: identical, byte for byte"
        return
    what = part.problem
    if part.first:
        apart = "by more than numbers" if part.largest is None else f"by {part.largest:.3g} at most"
        what = f"tensors that differ: {part.tensors:,}, {apart}, the first is {part.first}"
    yield f"{name}: not identical: {what}"
    yield from _blame(name, part)


def _blame(name: str, part: Rows | ModelFile) -> Iterator[str]:
    if part.as_stated:
        yield f"{name}: the replay is what the statement names, so the published file was changed since"
