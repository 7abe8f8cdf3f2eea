"""Gzipped files read from any place on: on the way, the state of the unpacker is noted now and then."""

from __future__ import annotations

import io
import threading
import zlib
from bisect import bisect_right
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

_EVERY = 4 << 20
_PIECE = 64 << 10
# Each note takes some 50 kB, and a small file may hold a lot of nothing.
MAX_UNPACKED = 1 << 30


class _Note(NamedTuple):
    """The unpacker as it was when so many bytes had gone in and come out."""

    came_out: int
    went_in: int
    unpacker: Any


class _Notes:
    """What was noted of one file, by all who have read it so far."""

    def __init__(self) -> None:
        self._notes = [_Note(0, 0, _unpacker())]
        self._lock = threading.Lock()

    def before(self, place: int) -> _Note:
        """The last note at or before a place in the unpacked file."""
        with self._lock:
            return self._notes[bisect_right(self._notes, place, key=lambda note: note.came_out) - 1]

    def add(self, came_out: int, went_in: int, unpacker: Any) -> None:
        """Note a place, unless it is near the last one."""
        with self._lock:
            if came_out >= self._notes[-1].came_out + _EVERY:
                self._notes.append(_Note(came_out, went_in, unpacker.copy()))


def opened(path: Path, place: int, packed: bool) -> BinaryIO:
    """A file from a place on; for a packed one, the place is one in what it unpacks to."""
    if packed:
        return cast("BinaryIO", io.BufferedReader(_Unpacked(path, place), 1 << 20))
    file = path.open("rb")
    file.seek(place)
    return file


def _unpacker() -> Any:
    return zlib.decompressobj(wbits=31)


@lru_cache(maxsize=8)
def _notes(_path: Path) -> _Notes:
    return _Notes()


class _Unpacked(io.RawIOBase):
    """The bytes that a gzipped file unpacks to; raises ValueError where it is damaged or too much."""

    def __init__(self, path: Path, place: int) -> None:
        self._notes = _notes(path)
        note = self._notes.before(place)
        self._came_out, self._unpacker = note.came_out, note.unpacker.copy()
        self._waiting = b""
        self._file = path.open("rb")
        self._file.seek(note.went_in)
        while self._came_out < place and self._next(min(_PIECE, place - self._came_out)):
            pass

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        data = self._next(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _next(self, most: int) -> bytes:
        """Up to `most` more bytes; none at the end."""
        while True:
            packed = self._waiting or self._file.read(_PIECE)
            if self._unpacker.eof:
                if not packed.strip(b"\0"):
                    return b""
                self._unpacker = _unpacker()  # a file may hold several, one after the other
            try:
                data = self._unpacker.decompress(packed, most)
            except zlib.error as error:
                raise ValueError(f"it is not gzip throughout ({error})") from error
            self._waiting = (
                self._unpacker.unused_data if self._unpacker.eof else self._unpacker.unconsumed_tail
            )
            if data:
                return self._noted(data)
            if not packed and not self._unpacker.eof:
                raise ValueError("it ends in the middle of its gzip data")

    def _noted(self, data: bytes) -> bytes:
        self._came_out += len(data)
        if self._came_out > MAX_UNPACKED:
            raise ValueError(f"it unpacks to more than {MAX_UNPACKED >> 20} MiB; download it to use it")
        if not self._unpacker.eof:
            self._notes.add(self._came_out, self._file.tell() - len(self._waiting), self._unpacker)
        return data
