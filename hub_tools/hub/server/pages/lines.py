"""Rows of JSON Lines and CSV files: an index of every thousandth row makes any of them quick to reach."""

from __future__ import annotations

import codecs
import csv
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from hub_tools.hub.server.pages.unpacking import opened

Row = dict[str, Any]

_BOM = codecs.BOM_UTF8
_STEP = 1000
_MAX_LINE = 16 << 20
_MAX_SECONDS = 20
csv.field_size_limit(1 << 20)  # for the whole process; the default is too short for texts


class _Index(NamedTuple):
    rows: int
    places: list[int]


class _TextRows(ABC):
    """The rows of one text file, numbered from 0."""

    def __init__(self, path: Path, packed: bool = False) -> None:
        self._path = path
        self._packed = packed

    @property
    @abstractmethod
    def _index(self) -> _Index:
        """Where every thousandth row begins, and how many there are."""

    @abstractmethod
    def _read(self, file: BinaryIO) -> Iterator[Row]:
        """The rows of a file that stands where one begins."""

    @property
    def count(self) -> int:
        """How many rows there are."""
        return self._index.rows

    def rows(self, start: int) -> Iterator[Row]:
        """The rows from `start` on, read as they are wanted."""
        if start >= self.count:
            return
        with opened(self._path, self._index.places[start // _STEP], self._packed) as file:
            yield from islice(self._read(file), start % _STEP, None)

    def matches(self, needle: str, start: int) -> Iterator[tuple[int, list[tuple[int, Row]]]]:
        """Piece by piece: the row to go on from, and the rows with `needle` in one of their texts."""
        numbered = enumerate(self.rows(start), start)
        while piece := list(islice(numbered, _STEP)):
            yield piece[-1][0] + 1, [pair for pair in piece if _has(pair[1], needle.lower())]

    def find(self, row_id: str) -> int | None:
        """The number of the row whose `id` is this."""
        return next((number for number, row in enumerate(self.rows(0)) if str(row.get("id")) == row_id), None)


class JsonRows(_TextRows):
    """The rows of a JSON Lines file; a line that is no JSON is a row that says so."""

    @property
    def _index(self) -> _Index:
        return _lines(self._path, self._packed)

    def _read(self, file: BinaryIO) -> Iterator[Row]:
        return map(_row, _raw(file))


class DelimitedRows(_TextRows):
    """The rows of a CSV or TSV file with its columns' names in the first one; all values are texts."""

    def __init__(self, path: Path, delimiter: str, packed: bool = False) -> None:
        super().__init__(path, packed)
        self._delimiter = delimiter

    @property
    def _index(self) -> _Index:
        return _records(self._path, self._delimiter, self._packed)[0]

    def _read(self, file: BinaryIO) -> Iterator[Row]:
        names = _records(self._path, self._delimiter, self._packed)[1]
        for cells in _split(_raw(file), self._delimiter):
            more = [f"column {number + 1}" for number in range(len(names), len(cells))]
            yield dict(zip([*names, *more], cells, strict=False))


def _raw(file: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: file.readline(_MAX_LINE), b"")


def _row(line: bytes) -> Row:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {"not JSON": line[:1000].decode("utf-8", "replace")}
    return value if isinstance(value, dict) else {"value": value}


def _split(raw: Iterator[bytes], delimiter: str) -> Iterator[list[str]]:
    """The records from here on, of which each may be several lines; raises ValueError."""
    lines = (line.decode("utf-8", "replace") for line in raw)
    try:
        yield from filter(None, csv.reader(lines, delimiter=delimiter))
    except csv.Error as error:
        raise ValueError(f"it is no CSV throughout ({error})") from error


def _timely(lines: Iterator[bytes]) -> Iterator[bytes]:
    """The lines, as long as counting them is no burden for everybody else; raises ValueError."""
    end = time.monotonic() + _MAX_SECONDS
    for number, line in enumerate(lines):
        if number % 4096 == 0 and time.monotonic() > end:
            raise ValueError(
                f"counting its rows takes more than {_MAX_SECONDS} seconds; download it to use it"
            )
        yield line


def _has(value: Any, needle: str) -> bool:
    """Whether a text is in any string of a value, however deep: JSON nests deeper than Python may call."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            if needle in value.lower():
                return True
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return False


@lru_cache(maxsize=64)
def _lines(path: Path, packed: bool) -> _Index:
    """Count the lines as `readline` will give them, and note where every thousandth begins."""
    places, count, place = [0], 0, 0
    with opened(path, 0, packed) as file:
        for line in _timely(_raw(file)):
            count, place = count + 1, place + len(line)
            if count % _STEP == 0:
                places.append(place)
    return _Index(count, places)


@lru_cache(maxsize=64)
def _records(path: Path, delimiter: str, packed: bool) -> tuple[_Index, list[str]]:
    """The same for records of a CSV file, behind the one with the columns' names."""
    place = 0

    def told(file: BinaryIO) -> Iterator[bytes]:
        nonlocal place
        for line in _timely(_raw(file)):
            start = len(_BOM) if not place and line.startswith(_BOM) else 0
            place += len(line)
            yield line[start:]

    with opened(path, 0, packed) as file:
        records = _split(told(file), delimiter)
        names = [name or f"column {number + 1}" for number, name in enumerate(next(records, []))]
        places, count = [place], 0
        for _ in records:
            count += 1
            if count % _STEP == 0:
                places.append(place)
    return _Index(count, places), names
