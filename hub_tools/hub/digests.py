"""sha256 of files, whole and, for Parquet, by row group, so that an auditor can name the damaged part."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RowGroup:
    """A Parquet row group as bytes of its file: rows, offset and length in bytes, sha256."""

    rows: int
    offset: int
    length: int
    sha256: str


class Digester:
    """Hashes a stream of bytes whole and, at the same time, each of some ranges that follow one another."""

    def __init__(self, ranges: Sequence[tuple[int, int]] = ()) -> None:
        self.size = 0
        self._whole = hashlib.sha256()
        self._parts = [(offset, offset + length, hashlib.sha256()) for offset, length in ranges]
        self._next = 0

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""
        self._whole.update(data)
        view, start, end = memoryview(data), self.size, self.size + len(data)
        while self._next < len(self._parts):
            first, last, part = self._parts[self._next]
            part.update(view[max(first, start) - start : max(last, start) - start] if first < end else b"")
            if last > end:
                break
            self._next += 1
        self.size = end

    @property
    def sha256(self) -> str:
        """The hash of everything so far, in hexadecimal."""
        return self._whole.hexdigest()

    @property
    def parts(self) -> list[str]:
        """The hash of each range, in hexadecimal."""
        return [part.hexdigest() for _, _, part in self._parts]


def chunks(path: Path) -> Iterator[bytes]:
    """Yield a file's bytes, a mebibyte at a time."""
    with path.open("rb") as file:
        while data := file.read(CHUNK):
            yield data


def digest(pieces: Iterable[bytes | memoryview], ranges: Sequence[tuple[int, int]] = ()) -> Digester:
    """Hash a stream whole and by ranges (offset, length)."""
    digester = Digester(ranges)
    for piece in pieces:
        digester.update(piece)
    return digester


def sha256(content: Path | bytes) -> str:
    """Return the sha256 of a file or of bytes, in hexadecimal."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parquet_digests(path: Path) -> tuple[str, list[RowGroup]]:
    """Return the sha256 of a Parquet file and those of its row groups, in one pass."""
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(path)
    starts = [_start(metadata.row_group(at)) for at in range(metadata.num_row_groups)]
    # The footer's length stands in the last eight bytes, before the magic number.
    ends = [*starts, path.stat().st_size - 8 - metadata.serialized_size]
    ranges = [(start, end - start) for start, end in pairwise(ends)]
    found = digest(chunks(path), ranges)
    groups = [
        RowGroup(rows=metadata.row_group(at).num_rows, offset=offset, length=length, sha256=part)
        for at, ((offset, length), part) in enumerate(zip(ranges, found.parts, strict=True))
    ]
    return found.sha256, groups


def _start(group: Any) -> int:
    columns = [group.column(at) for at in range(group.num_columns)]
    starts: list[int] = [
        column.dictionary_page_offset if column.has_dictionary_page else column.data_page_offset
        for column in columns
    ]
    return min(starts)
