"""Shards: the records that say of which chunks each uploaded file consists."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from hub_tools.hub.server.blobs import BlobStore
from hub_tools.hub.server.errors import bad_request
from hub_tools.hub.server.xet.xorb import Xorb

_MAGIC = b"HFRepoMetaData\0"
_RECORD_BYTES = 48
_END = b"\xff" * 32
_HAS_VERIFICATION = 1 << 31
_HAS_SHA256 = 1 << 30
# Up to here a file is put together in memory, and written only if it is new.
_SMALL_BYTES = 256 << 10


@dataclass(frozen=True)
class Segment:
    """A run of chunks of one xorb."""

    xorb: str
    size: int
    first: int
    end: int


@dataclass(frozen=True)
class File:
    """One file's segments in order, and its sha256 where the client sent it."""

    segments: list[Segment]
    sha256: str | None


def xet_hash(data: bytes) -> str:
    """Write 32 bytes the way Xet prints hashes: as four little-endian numbers."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", data))


class _Records:
    """Reads a shard record by record; raises 400 when it ends too soon."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._position = 0

    def take(self, count: int = 1) -> memoryview:
        start, self._position = self._position, self._position + count * _RECORD_BYTES
        if self._position > len(self._data):
            raise bad_request("The shard ends in the middle of a record")
        return self._data[start : self._position]


def files(data: bytes) -> Iterator[File]:
    """Read the files that a shard describes."""
    if not data.startswith(_MAGIC):
        raise bad_request("The body is not a shard")
    records = _Records(data)
    records.take()
    while (head := bytes(records.take()))[:32] != _END:
        flags, count = struct.unpack_from("<II", head, 32)
        segments = [_segment(bytes(records.take())) for _ in range(count)]
        if flags & _HAS_VERIFICATION:
            records.take(count)
        sha256 = xet_hash(bytes(records.take())[:32]) if flags & _HAS_SHA256 else None
        yield File(segments, sha256)


def _segment(record: bytes) -> Segment:
    _, size, first, end = struct.unpack_from("<IIII", record, 32)
    return Segment(xet_hash(record[:32]), size, first, end)


def ingest(blobs: BlobStore, data: bytes, limit: int) -> list[str]:
    """Put the shard's files together from their chunks and store them whole; returns their sha256.

    Also a file that is stored already is put together: only that proves that its sender has it.
    """
    assembler = _Assembler(blobs, limit)
    try:
        return [assembler.assemble(file) for file in files(data)]
    finally:
        assembler.close()


class _Assembler:
    """Writes files from xorbs, of which it keeps the last one open."""

    def __init__(self, blobs: BlobStore, limit: int) -> None:
        self._blobs = blobs
        self._limit = limit
        self._open: tuple[str, Xorb] | None = None

    def close(self) -> None:
        if self._open:
            self._open[1].close()
        self._open = None

    def _xorb(self, name: str) -> Xorb:
        if self._open and self._open[0] == name:
            return self._open[1]
        self.close()
        path = self._blobs.xorb_path(name)
        if not path.is_file():
            raise bad_request(f"The shard refers to xorb {name}, which this Hub does not have")
        self._open = (name, Xorb(path))
        return self._open[1]

    def assemble(self, file: File) -> str:
        pieces = (piece for segment in file.segments for piece in self._pieces(segment))
        if sum(segment.size for segment in file.segments) <= min(_SMALL_BYTES, self._limit):
            return self._blobs.put(b"".join(pieces), file.sha256)
        with self._blobs.receive(self._limit) as incoming:
            for piece in pieces:
                incoming.write(piece)
            return self._blobs.keep(incoming, file.sha256)

    def _pieces(self, segment: Segment) -> Iterator[bytes]:
        """The chunks of a segment, which must be as long together as it states; raises 400."""
        xorb, left = self._xorb(segment.xorb), segment.size
        for index in range(segment.first, segment.end):
            piece = xorb.chunk(index)
            left -= len(piece)
            if left < 0:
                break
            yield piece
        if left:
            raise bad_request("A segment of the shard does not have the length it states")
