"""Record types as Parquet columns: a dataclass is its Arrow schema, and back."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin

from hub_tools.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")


@functools.cache
def arrow_schema(record: Any) -> pa.Schema:
    """Return the Arrow schema of a record dataclass (or TypedDict): nested records become structs."""
    import pyarrow as pa

    return pa.schema([pa.field(name, _arrow_type(hint)) for name, hint in _hints(record).items()])


def _hints(record: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(record)
    if dataclasses.is_dataclass(record):
        return {field.name: hints[field.name] for field in dataclasses.fields(record)}
    return hints


def _arrow_type(hint: Any) -> pa.DataType:
    import pyarrow as pa

    scalars = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    if hint in scalars:
        return scalars[hint]
    if get_origin(hint) in (types.UnionType, typing.Union):
        (inner,) = [arg for arg in get_args(hint) if arg is not type(None)]
        return _arrow_type(inner)
    if get_origin(hint) is list:
        return pa.list_(_arrow_type(get_args(hint)[0]))
    return pa.struct(list(arrow_schema(hint)))


def to_columns(row: Any) -> dict[str, Any]:
    """Turn a record into plain values for Arrow."""
    return dataclasses.asdict(row)


def from_columns(record: type[T], values: dict[str, Any]) -> T:
    """Turn plain values, as Arrow gives them, into a record."""
    builders = _builders(typing.cast("Any", record))
    return record(**{name: build(values[name]) for name, build in builders})


@functools.cache
def _builders(record: Any) -> tuple[tuple[str, Any], ...]:
    def builder(hint: Any) -> Any:
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            return functools.partial(from_columns, hint)
        return lambda value: value

    return tuple((name, builder(hint)) for name, hint in _hints(record).items())


def read_rows(record: type[T], shards: Iterable[Path], origin: str, start: int = 0) -> Iterator[T]:
    """Stream records out of Parquet shards, in order, from position `start` on; `origin` names the dataset in
    errors.

    Raises:
        DataError: a shard lacks a column that the record has.
    """
    for first, parquet, group in _row_groups(record, shards, origin):
        rows = parquet.metadata.row_group(group).num_rows
        if first + rows > start:
            skip = max(0, start - first)
            names = arrow_schema(typing.cast("Any", record)).names
            for batch in parquet.iter_batches(batch_size=256, row_groups=[group], columns=names):
                if skip < batch.num_rows:
                    for values in batch.slice(skip).to_pylist():
                        yield from_columns(record, values)
                skip = max(0, skip - batch.num_rows)


def pick_rows(record: type[T], shards: Iterable[Path], origin: str, positions: Sequence[int]) -> Iterator[T]:
    """Yield the records at some positions, which must be in order; other row groups are not read."""
    wanted = list(positions)
    for first, parquet, group in _row_groups(record, shards, origin):
        rows = parquet.metadata.row_group(group).num_rows
        inside = [at - first for at in wanted if first <= at < first + rows]
        if inside:
            names = arrow_schema(typing.cast("Any", record)).names
            for values in parquet.read_row_group(group, columns=names).take(inside).to_pylist():
                yield from_columns(record, values)


def _row_groups(record: type, shards: Iterable[Path], origin: str) -> Iterator[tuple[int, Any, int]]:
    """Yield every row group of the shards: the position of its first row, its file, its number there."""
    import pyarrow.parquet as pq

    first = 0
    for shard in shards:
        parquet = pq.ParquetFile(shard)
        found = parquet.schema_arrow.names
        missing = [name for name in arrow_schema(typing.cast("Any", record)).names if name not in found]
        if missing:
            raise DataError(f"{origin} lacks the column {missing[0]!r}; it has {', '.join(found)}")
        for group in range(parquet.num_row_groups):
            yield first, parquet, group
            first += parquet.metadata.row_group(group).num_rows
