"""Rows of JSON Lines files: an index of every thousandth line makes any of them quick to reach."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

Row = dict[str, Any]

_STEP = 1000
_MAX_LINE = 16 << 20
_CHUNK = 1 << 20


class _Index(NamedTuple):
    lines: int
    offsets: list[int]


class JsonRows:
    """The rows of one JSON Lines file, numbered from 0."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._index = _index(path)

    @property
    def count(self) -> int:
        """How many rows there are."""
        return self._index.lines

    def rows(self, start: int) -> Iterator[Row]:
        """The rows from `start` on, read as they are wanted."""
        if start >= self.count:
            return
        with self._path.open("rb") as file:
            file.seek(self._index.offsets[start // _STEP])
            lines = iter(lambda: file.readline(_MAX_LINE), b"")
            yield from map(_row, islice(lines, start % _STEP, None))

    def matches(self, needle: str, start: int) -> Iterator[tuple[int, list[tuple[int, Row]]]]:
        """Piece by piece: the row to go on from, and the rows with `needle` in one of their texts."""
        numbered = enumerate(self.rows(start), start)
        while piece := list(islice(numbered, _STEP)):
            yield piece[-1][0] + 1, [pair for pair in piece if _has(pair[1], needle.lower())]

    def find(self, row_id: str) -> int | None:
        """The number of the row whose `id` is this."""
        return next((number for number, row in enumerate(self.rows(0)) if str(row.get("id")) == row_id), None)


def _row(line: bytes) -> Row:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {"not JSON": line[:1000].decode("utf-8", "replace")}
    return value if isinstance(value, dict) else {"value": value}


def _has(value: Any, needle: str) -> bool:
    if isinstance(value, str):
        return needle in value.lower()
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(_has(item, needle) for item in inner)


@lru_cache(maxsize=64)
def _index(path: Path) -> _Index:
    """Count the lines as `readline` will give them, and note where every thousandth begins."""
    offsets, count, position = [0], 0, 0
    with path.open("rb") as file:
        for line in iter(lambda: file.readline(_MAX_LINE), b""):
            count, position = count + 1, position + len(line)
            if count % _STEP == 0:
                offsets.append(position)
    return _Index(count, offsets)
