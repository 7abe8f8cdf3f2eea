"""Record types as Parquet columns: a dataclass is its Arrow schema, and back."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Iterable, Iterator
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


def read_rows(record: type[T], shards: Iterable[Path], origin: str) -> Iterator[T]:
    """Stream records out of Parquet shards, in order; `origin` names the dataset in errors.

    Raises:
        DataError: a shard lacks a column that the record has.
    """
    import pyarrow.parquet as pq

    names = arrow_schema(typing.cast("Any", record)).names
    for shard in shards:
        parquet = pq.ParquetFile(shard)
        missing = [name for name in names if name not in parquet.schema_arrow.names]
        if missing:
            found = ", ".join(parquet.schema_arrow.names)
            raise DataError(f"{origin} lacks the column {missing[0]!r}; it has {found}")
        for batch in parquet.iter_batches(batch_size=256, columns=names):
            for values in batch.to_pylist():
                yield from_columns(record, values)
