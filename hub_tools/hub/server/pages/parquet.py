"""Rows of Parquet files: any of them at once, by reading only the row group that it lies in."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

Row = dict[str, Any]

_BATCH, _PIECE = 1000, 100


class ParquetRows:
    """The rows of one Parquet file, numbered from 0."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Row groups of 1,000 rows make footers of megabytes: read once, and kept for the next page.
        self._footer = _footer(path)

    @property
    def count(self) -> int:
        """How many rows there are."""
        return int(self._footer.num_rows)

    @cached_property
    def _starts(self) -> list[int]:
        """The number of the first row of each row group, and of the row after the last."""
        groups = range(self._footer.num_row_groups)
        return list(accumulate((self._footer.row_group(group).num_rows for group in groups), initial=0))

    def rows(self, start: int) -> Iterator[Row]:
        """The rows from `start` on, read as they are wanted."""
        # No more at once than a page shows: rows with pictures are megabytes each.
        for _, batch in self._batches(start, size=_PIECE):
            yield from batch.to_pylist()

    def matches(self, needle: str, start: int) -> Iterator[tuple[int, list[tuple[int, Row]]]]:
        """Piece by piece: the row to go on from, and the rows with `needle` in one of their texts."""
        for first, batch in self._batches(start):
            hits = _hits(batch, needle)
            yield first + batch.num_rows, [(first + hit, batch.slice(hit, 1).to_pylist()[0]) for hit in hits]

    def find(self, row_id: str) -> int | None:
        """The number of the row whose `id` is this."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if "id" not in self._footer.schema.to_arrow_schema().names:
            return None
        for first, batch in self._batches(0, ["id"], 64 * _BATCH):
            ids = batch.column(0).cast(pa.string())
            # Whatever makes a scalar imports pandas, which takes longer than all of this.
            near = pc.indices_nonzero(pc.match_substring(ids, row_id))
            if row_id in (found := ids.take(near).to_pylist()):
                return first + int(near[found.index(row_id)].as_py())
        return None

    def _batches(
        self, start: int, columns: Sequence[str] | None = None, size: int = _BATCH
    ) -> Iterator[tuple[int, Any]]:
        """Record batches from a row on, each with the number of its first row."""
        import pyarrow.parquet as pq

        if start >= self.count:
            return
        group = bisect_right(self._starts, start) - 1
        number = self._starts[group]
        wanted = list(range(group, self._footer.num_row_groups))
        # Without a buffer ahead and with the file mapped, a huge row group is read page by page.
        with pq.ParquetFile(self._path, metadata=self._footer, memory_map=True, pre_buffer=False) as file:
            for batch in file.iter_batches(size, row_groups=wanted, columns=columns, use_threads=False):
                skipped = min(max(0, start - number), batch.num_rows)
                if skipped < batch.num_rows:
                    yield number + skipped, batch.slice(skipped)
                number += batch.num_rows


@lru_cache(maxsize=64)
def _footer(path: Path) -> Any:
    import pyarrow.parquet as pq

    return pq.read_metadata(path)


def _hits(batch: Any, needle: str) -> list[int]:
    """The rows of a batch with the text in any of their strings, nested ones too, in any case."""
    import pyarrow.compute as pc

    found: set[int] = set()
    for column in batch.columns:
        for texts, owners in _texts(column, None):
            at = pc.indices_nonzero(pc.match_substring(texts, needle, ignore_case=True))
            found.update((at if owners is None else owners.take(at)).to_pylist())
    return sorted(found)


def _texts(array: Any, owners: Any) -> Iterator[tuple[Any, Any]]:
    """All string arrays inside an array, each with the row that every string belongs to (None: its own)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if pa.types.is_dictionary(kind):
        array, kind = array.dictionary_decode(), kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        yield array, owners
    elif pa.types.is_struct(kind):
        for field in range(kind.num_fields):
            yield from _texts(pc.struct_field(array, [field]), owners)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        parents = pc.list_parent_indices(array)
        yield from _texts(pc.list_flatten(array), parents if owners is None else owners.take(parents))
