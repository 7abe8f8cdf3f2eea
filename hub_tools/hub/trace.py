"""Traces one row through a lineage: what every node made of it, from the web page on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub_tools.errors import HubError
from hub_tools.hub.lineage import Chain, Walker
from hub_tools.hub.provenance import Statement
from hub_tools.hub.repository import Hub, Ref, shard_config

REJECTED = "rejected"
DROPPED = "dropped_pairs.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A repo on the row's way: the configs that hold it, and the row as the first of them has it.

    A model that was trained on the row has neither; `dropped` says why where it left the row out.
    """

    ref: Ref
    statement: Statement
    configs: list[str]
    row: Mapping[str, Any]
    dropped: str = ""

    @property
    def rejected(self) -> bool:
        """Whether the row ended here, as a reject."""
        return self.configs == [REJECTED]


def trace(hub: Hub, ref: Ref, row_id: str, looking: Callable[[Ref], None] = lambda ref: None) -> list[Stop]:
    """Return the row's stops, the corpus first; `looking` hears of every dataset that is searched.

    Raises:
        HubError: no dataset of the lineage holds such a row.
    """
    chain = Walker(hub).chain(ref)
    stops = list(_stops(hub, chain, row_id, looking))
    if not stops:
        searched = ", ".join(found.name for found, _ in chain.datasets())
        where = f"any of {searched}" if searched else f"{ref.name}: {chain.head.ends or 'it has no rows'}"
        raise HubError(f"there is no row {row_id!r} in {where}")
    return stops


def _stops(hub: Hub, chain: Chain, row_id: str, looking: Callable[[Ref], None]) -> Iterator[Stop]:
    holders: set[str] = set()
    for link in chain.links.values():
        ref, statement = link.ref, link.statement
        if ref is None or statement is None:
            continue
        if ref.kind == "model":
            if holders & {parent for _, parent in link.parents}:
                reason = _dropped(hub, ref, row_id)
                yield Stop(ref=ref, statement=statement, configs=[], row={}, dropped=reason)
            continue
        looking(ref)
        configs: list[str] = []
        rows: list[Mapping[str, Any]] = []
        for config, names in _shards(statement).items():
            row = _find(hub.matching(ref, names).values(), row_id, ref)
            if row is not None:
                configs.append(config)
                rows.append(row)
        if rows:
            holders.add(link.key)
            yield Stop(ref=ref, statement=statement, configs=configs, row=rows[0])


def _dropped(hub: Hub, ref: Ref, row_id: str) -> str:
    """Return why a training left a row out; empty where it did not."""
    path = hub.file(ref, DROPPED)
    entries = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()) if path else ()
    return next((str(entry["reason"]) for entry in entries if entry["id"] == row_id), "")


def _shards(statement: Statement) -> dict[str, list[str]]:
    """Return the Parquet files of each config, the rejects last."""
    found: dict[str, list[str]] = {}
    for subject in statement.subject:
        if config := shard_config(subject.name):
            found.setdefault(config, []).append(subject.name)
    return dict(sorted(found.items(), key=lambda item: item[0] == REJECTED))


def _find(shards: Iterable[Path], row_id: str, ref: Ref) -> Mapping[str, Any] | None:
    """Look for a row by its id; only the column of ids is read, and then the one row group that holds it."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        for shard in shards:
            parquet = pq.ParquetFile(shard)
            if "id" not in parquet.schema_arrow.names:
                return None
            for group in range(parquet.num_row_groups):
                at = pc.index(parquet.read_row_group(group, columns=["id"])["id"], row_id).as_py()
                if at >= 0:
                    row: Mapping[str, Any] = parquet.read_row_group(group).slice(at, 1).to_pylist()[0]
                    return row
    except pa.ArrowException as error:
        raise HubError(
            f"{ref.name} holds a damaged file: {error}; see `backforth verify {ref.name}`"
        ) from error
    return None
