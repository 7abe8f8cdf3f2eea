"""The rows of a table across its files: a page of them, those with a text in them, or the one with an id."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol

from hub_tools.hub.server.pages.lines import DelimitedRows, JsonRows
from hub_tools.hub.server.pages.parquet import ParquetRows
from hub_tools.hub.server.pages.tables import PACKED, Table, form_of
from hub_tools.hub.server.trees import Entry

Row = dict[str, Any]
_DELIMITERS = {"csv": ",", "tsv": "\t"}


class UnreadableError(Exception):
    """A file does not hold what its name says; the message is one line."""


class _File(Protocol):
    """The rows of one file."""

    @property
    def count(self) -> int: ...
    def rows(self, start: int) -> Iterator[Row]: ...
    def matches(self, needle: str, start: int) -> Iterator[tuple[int, list[tuple[int, Row]]]]: ...
    def find(self, row_id: str) -> int | None: ...


@dataclass(frozen=True)
class Found:
    """Rows with their numbers; `further` is the row at which a search stopped, None where it saw all."""

    rows: list[tuple[int, Row]]
    further: int | None


class TableRows:
    """The rows of a table, numbered from 0 through all of its files."""

    def __init__(self, table: Table, locate: Callable[[str], Path]) -> None:
        self._files: list[tuple[int, str, _File]] = []
        self.count = 0
        for path, entry in table.files:
            with _reading(path):
                file = _open(path, entry, locate)
                self._files.append((self.count, path, file))
                self.count += file.count

    def page(self, start: int, length: int) -> list[tuple[int, Row]]:
        """Up to `length` rows from `start` on, with their numbers."""
        rows = chain.from_iterable(self._from(start, lambda file, first: file.rows(first)))
        return list(enumerate(islice(rows, length), start))

    def search(self, needle: str, start: int, most: int, seconds: float) -> Found:
        """The rows from `start` on with the text in them: up to about `most`, and for some seconds only."""
        end = 0.0
        found: list[tuple[int, Row]] = []
        for base, path, file in self._files:
            with _reading(path):
                if base + file.count <= start:
                    continue
                for further, hits in file.matches(needle, max(0, start - base)):
                    # The clock starts after the first piece: a slow start must not end every search at once.
                    end = end or time.monotonic() + seconds
                    found += [(base + number, row) for number, row in hits]
                    stop = found[most - 1][0] + 1 if len(found) >= most else base + further
                    if stop < self.count and (len(found) >= most or time.monotonic() > end):
                        return Found(found[:most], stop)
        return Found(found, None)

    def find(self, row_id: str) -> int | None:
        """The number of the row with an id."""
        for base, path, file in self._files:
            with _reading(path):
                number = file.find(row_id)
            if number is not None:
                return base + number
        return None

    def _from(self, start: int, read: Callable[[_File, int], Iterator[Row]]) -> Iterator[Iterator[Row]]:
        for base, path, file in self._files:
            if start < base + file.count:
                yield _checked(path, read(file, max(0, start - base)))


def _open(path: str, entry: Entry, locate: Callable[[str], Path]) -> _File:
    blob, form = locate(entry.sha256), form_of(path)
    if form == "parquet":
        return ParquetRows(blob)
    packed = path.lower().endswith(PACKED)
    return JsonRows(blob, packed) if form == "json" else DelimitedRows(blob, _DELIMITERS[form], packed)


def _checked(path: str, rows: Iterator[Row]) -> Iterator[Row]:
    with _reading(path):
        yield from rows


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """Turn whatever a damaged file makes of its reader into one error that names the file."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        reason = str(error).partition("\n")[0][:300] or type(error).__name__
        raise UnreadableError(f"{path} cannot be read: {reason}") from error
