"""Xorbs: files of compressed chunks, each behind a header of eight bytes."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, NamedTuple

import lz4.frame

from hub_tools.hub.server.errors import bad_request

_HEADER_BYTES = 8
_FOOTER = b"XETBLOB"
_PLAIN, _LZ4, _LZ4_BYTE_GROUPED = 0, 1, 2
# The format's own limit is 128 KiB; the header could say up to 16 MiB.
_MAX_CHUNK_BYTES = 1 << 20


class Chunk(NamedTuple):
    """Where one chunk lies in its xorb and how it is compressed."""

    offset: int
    stored: int
    scheme: int
    size: int


class Xorb:
    """An open xorb, whose chunks are found by reading only the headers."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("rb")
        self._chunks = list(self._scan(path.stat().st_size))

    def __len__(self) -> int:
        return len(self._chunks)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _scan(self, size: int) -> list[Chunk]:
        chunks: list[Chunk] = []
        position = 0
        while position + _HEADER_BYTES <= size:
            self._file.seek(position)
            header = self._file.read(_HEADER_BYTES)
            if header.startswith(_FOOTER):
                break
            stored, scheme = int.from_bytes(header[1:4], "little"), header[4]
            length = int.from_bytes(header[5:8], "little")
            position += _HEADER_BYTES
            if position + stored > size or length > _MAX_CHUNK_BYTES:
                raise bad_request("The xorb has a chunk that is cut off or over-long")
            chunks.append(Chunk(position, stored, scheme, length))
            position += stored
        return chunks

    def chunk(self, index: int) -> bytes:
        """The bytes of one chunk; raises 400 if there is none or it is damaged."""
        if index >= len(self._chunks):
            raise bad_request(f"The xorb has {len(self._chunks)} chunks, but number {index} is asked for")
        place = self._chunks[index]
        self._file.seek(place.offset)
        data = _decompress(self._file.read(place.stored), place)
        if len(data) != place.size:
            raise bad_request("A chunk of the xorb does not have the length its header states")
        return data


def _decompress(data: bytes, place: Chunk) -> bytes:
    if place.scheme == _PLAIN:
        return data
    if place.scheme not in (_LZ4, _LZ4_BYTE_GROUPED):
        raise bad_request(f"The xorb uses compression scheme {place.scheme}, which this Hub does not know")
    try:
        unpacker = lz4.frame.LZ4FrameDecompressor()
        # The limit keeps a small, hostile chunk from unfolding into gigabytes.
        plain: bytes = unpacker.decompress(data, max_length=place.size + 1)
    except (RuntimeError, EOFError, ValueError) as error:
        raise bad_request(f"A chunk of the xorb cannot be decompressed: {error}") from error
    return plain if place.scheme == _LZ4 else _ungroup(plain)


def _ungroup(data: bytes) -> bytes:
    """Undo the regrouping that puts first all first bytes of four, then all second ones, and so on."""
    size = len(data)
    plain = bytearray(size)
    start = 0
    for lane in range(4):
        length = (size - lane + 3) // 4
        plain[lane::4] = data[start : start + length]
        start += length
    return bytes(plain)
