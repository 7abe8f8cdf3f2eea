"""Compares the rows of a config that is published with those that a replay made."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hub_tools.hub.digests import sha256
from hub_tools.run.replay.compare_values import (
    Column,
    Difference,
    as_text,
    columns,
    each_row,
    first_difference,
    one_line,
)

Files = Mapping[str, Path]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A config of a dataset, held against its replay.

    `same_bytes` says whether the shards are the very same; `as_stated` whether the replayed ones are those
    that the statement names. Rows are counted by their ids, whatever their order; `columns` are those that
    differ, `problem` is why rows could not be read.
    """

    config: str
    same_bytes: bool
    as_stated: bool
    equal: int = 0
    different: int = 0
    only_published: int = 0
    only_replayed: int = 0
    first: Difference | None = None
    columns: Mapping[str, Column] = field(default_factory=dict)
    problem: str = ""

    @property
    def identical(self) -> bool:
        """Whether every row is the same, and in the same place."""
        return self.same_bytes or not (self.first or self.problem)


def compare_rows(config: str, published: Files, replayed: Files, stated: Mapping[str, str]) -> Rows:
    """Compare the shards of a config by their paths in the repo; `stated` are the sha256 of the statement.

    Memory is sixteen bytes a row and side.
    """
    import pyarrow as pa

    now = {name: sha256(path) for name, path in replayed.items()}
    same = {name: sha256(path) for name, path in published.items()} == now
    as_stated = bool(now) and all(stated.get(name) == digest for name, digest in now.items())
    told: dict[str, Any] = {"config": config, "same_bytes": same, "as_stated": as_stated}
    if same:
        return Rows(**told, equal=_count(list(replayed.values())))
    if not published or not replayed:
        return Rows(
            **told, problem=f"there is no such config {'on the Hub' if replayed else 'in the replay'}"
        )
    old, new = list(published.values()), list(replayed.values())
    try:
        (old_ids, old_rows), (new_ids, new_rows) = _digests(old), _digests(new)
        at = _first(old_rows, new_rows)
        first = None if at is None else first_difference(at, old, new)
        unlike = {} if at is None else columns(old, new)
    except (OSError, ValueError, RecursionError, pa.ArrowException) as error:
        return Rows(**told, problem=f"the published rows cannot be read: {one_line(error)}")
    equal, shared = _shared(old_rows, new_rows), _shared(old_ids, new_ids)
    return Rows(
        **told,
        equal=equal,
        different=shared - equal,
        only_published=len(old_ids) - shared,
        only_replayed=len(new_ids) - shared,
        first=first,
        columns=unlike,
    )


def _count(shards: Sequence[Path]) -> int:
    import pyarrow.parquet as pq

    return sum(int(pq.read_metadata(shard).num_rows) for shard in shards)


def _digests(shards: Sequence[Path]) -> tuple[Any, Any]:
    """Return the ids of all rows, and a digest of each row, as arrays of 64-bit numbers, in order."""
    import numpy as np

    ids, rows = array("Q"), array("Q")
    for row in each_row(shards):
        ids.append(_number(str(row.get("id"))))
        rows.append(_number(as_text(row)))
    return np.frombuffer(ids, dtype=np.uint64), np.frombuffer(rows, dtype=np.uint64)


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def _shared(some: Any, others: Any) -> int:
    """Return how many numbers two arrays share, each counted as often as it stands in both."""
    import numpy as np

    (some, times), (others, other_times) = (
        np.unique(some, return_counts=True),
        np.unique(others, return_counts=True),
    )
    _, at, other_at = np.intersect1d(some, others, assume_unique=True, return_indices=True)
    return int(np.minimum(times[at], other_times[other_at]).sum())


def _first(some: Any, others: Any) -> int | None:
    """Return the first place where two arrays differ, None if they are the same."""
    import numpy as np

    both = min(len(some), len(others))
    unlike = np.flatnonzero(some[:both] != others[:both])
    if len(unlike):
        return int(unlike[0])
    return None if len(some) == len(others) else both
