"""Finds where rows differ, down to the value: the first difference, and every column that has one."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from dataset_cards.escape import visible

WIDTH = 100
BEFORE = 30
ABSENT = "(absent)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The first row that differs: its number from 0, id, column (with the place in it), and both values.

    The values are cut to where they differ, and safe to print; `(absent)` stands for none.
    """

    row: int
    id: str
    column: str
    published: str
    replayed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column that differs: in how many rows, and, if all of these hold numbers, by how much at most."""

    rows: int
    largest: float | None


def each_row(shards: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Stream the rows of Parquet shards, in order, as plain values."""
    import pyarrow.parquet as pq

    for shard in shards:
        for batch in pq.ParquetFile(shard).iter_batches(batch_size=1000):
            yield from batch.to_pylist()


def first_difference(at: int, published: Sequence[Path], replayed: Sequence[Path]) -> Difference:
    """Say how the rows at a number differ; either may have no row there."""
    old, new = (next(islice(each_row(shards), at, None), None) for shards in (published, replayed))
    return _difference(at, old, new)


def columns(published: Sequence[Path], replayed: Sequence[Path]) -> dict[str, Column]:
    """Return the columns that differ in rows that stand in the same place with the same id."""
    found: dict[str, Column] = {}
    for old, new in zip(each_row(published), each_row(replayed), strict=False):
        if old == new or old.get("id") != new.get("id"):
            continue
        for name in [*old, *(name for name in new if name not in old)]:
            if as_text(old.get(name)) != as_text(new.get(name)):
                found[name] = _add(found.get(name), old.get(name), new.get(name))
    return {visible(name): column for name, column in found.items()}


def _add(column: Column | None, old: Any, new: Any) -> Column:
    numbers = isinstance(old, int | float) and isinstance(new, int | float)
    apart = abs(old - new) if numbers else math.inf
    before = column or Column(rows=0, largest=0.0)
    largest = None if before.largest is None or not math.isfinite(apart) else max(before.largest, apart)
    return Column(rows=before.rows + 1, largest=largest)


def _difference(at: int, published: dict[str, Any] | None, replayed: dict[str, Any] | None) -> Difference:
    row = published or replayed or {}
    column, old, new = (
        "",
        as_text(published) if published else ABSENT,
        as_text(replayed) if replayed else ABSENT,
    )
    if published and replayed:
        column, old, new = _leaf("", published, replayed)
    old, new = _beside(old, new)
    return Difference(row=at, id=visible(str(row.get("id"))), column=column, published=old, replayed=new)


def _leaf(place: str, old: Any, new: Any) -> tuple[str, str, str]:
    """Follow two values that differ down to the first part that does."""
    if isinstance(old, dict) and isinstance(new, dict):
        dot = "." if place else ""
        for key in [*old, *(key for key in new if key not in old)]:
            if key not in old or key not in new:
                return (
                    visible(f"{place}{dot}{key}"),
                    as_text(old[key]) if key in old else ABSENT,
                    as_text(new[key]) if key in new else ABSENT,
                )
            if as_text(old[key]) != as_text(new[key]):
                return _leaf(f"{place}{dot}{key}", old[key], new[key])
    if isinstance(old, list) and isinstance(new, list):
        for at, (one, other) in enumerate(zip(old, new, strict=False)):
            if as_text(one) != as_text(other):
                return _leaf(f"{place}[{at}]", one, other)
    return visible(place), as_text(old), as_text(new)


def _beside(old: str, new: str) -> tuple[str, str]:
    """Cut two texts to the part where they begin to differ, and make them safe to print."""
    both = min(len(old), len(new))
    first = max(0, next((at for at in range(both) if old[at] != new[at]), both) - BEFORE)

    def cut(text: str) -> str:
        end = "…" if len(text) > first + WIDTH else ""
        return visible(("…" if first else "") + text[first : first + WIDTH] + end)

    return cut(old), cut(new)


def as_text(value: Any) -> str:
    """Return a value as JSON, by which values are told apart: NaN is NaN, and 1 is not 1.0."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)


def one_line(error: Exception) -> str:
    """Return what is said of something broken, in one line that is not long and safe to print."""
    return visible(" ".join(str(error).split())[:400])
