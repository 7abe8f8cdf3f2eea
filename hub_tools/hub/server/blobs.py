"""File contents on disk, named by their hash; a file is under its name only once it is whole."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from hub_tools.hub.server.errors import bad_request, too_large


class Incoming:
    """A file being received: measured and hashed as it comes, gone again unless it is kept."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._path = folder / uuid.uuid4().hex
        self._limit = limit
        self._hash = hashlib.sha256()
        self._file = self._path.open("wb")
        self.size = 0

    def __enter__(self) -> Incoming:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # Closing writes what is buffered, which fails on a full disk.
            self._file.close()
        finally:
            self._path.unlink(missing_ok=True)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append `data`; raises 413 once the file passes its limit."""
        self.size += len(data)
        if self.size > self._limit:
            raise too_large("The uploaded file", self._limit)
        self._hash.update(data)
        self._file.write(data)

    @property
    def sha256(self) -> str:
        """The hash of what has come so far."""
        return self._hash.hexdigest()

    def keep(self, path: Path) -> None:
        """Put the file under its final name, on the disk and not only in its cache."""
        self._file.flush()
        os.fsync(self._file.fileno())
        if not path.parent.exists():
            path.parent.mkdir(exist_ok=True)
            sync(path.parent.parent)
        self._path.replace(path)
        sync(path.parent)


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, would survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_sha256(sha256: str, expected: str | None) -> None:
    if expected is not None and sha256 != expected:
        raise bad_request(f"The uploaded bytes have sha256 {sha256}, but {expected} was announced")


class BlobStore:
    """A folder of immutable files by hash: whole files by sha256, xorbs by the Xet hash."""

    def __init__(self, root: Path) -> None:
        self._files = root / "blobs"
        self._xorbs = root / "xorbs"
        self.incoming = root / "incoming"
        for folder in (self._files, self._xorbs, self.incoming):
            folder.mkdir(exist_ok=True)

    def clear_incoming(self) -> None:
        """Remove what a killed server was receiving; only the holder of the store's lock may call this."""
        for leftover in self.incoming.iterdir():
            leftover.unlink(missing_ok=True)

    def receive(self, limit: int) -> Incoming:
        """Open a file for an upload of at most `limit` bytes."""
        return Incoming(self.incoming, limit)

    def path(self, sha256: str) -> Path:
        """Where the file with this sha256 lies, or would."""
        return self._files / sha256[:2] / sha256

    def xorb_path(self, xet_hash: str) -> Path:
        """Where the xorb with this hash lies, or would."""
        return self._xorbs / xet_hash[:2] / xet_hash

    def has(self, sha256: str) -> bool:
        """Whether the file is here, whole."""
        return self.path(sha256).is_file()

    def size(self, sha256: str) -> int:
        """The file's size in bytes."""
        return self.path(sha256).stat().st_size

    def keep(self, incoming: Incoming, expected: str | None = None) -> str:
        """Store a received file under its sha256, which must be `expected` where that is given."""
        sha256 = incoming.sha256
        _check_sha256(sha256, expected)
        if not self.has(sha256):
            incoming.keep(self.path(sha256))
        return sha256

    def put(self, data: bytes, expected: str | None = None) -> str:
        """Store a small file that is in memory under its sha256, which must be `expected` if given."""
        sha256 = hashlib.sha256(data).hexdigest()
        _check_sha256(sha256, expected)
        if not self.has(sha256):
            with self.receive(len(data)) as incoming:
                incoming.write(data)
                self.keep(incoming)
        return sha256

    def files(self) -> Iterator[Path]:
        """Every whole file, under the name of its sha256."""
        return (path for path in self._files.glob("??/*") if path.is_file())

    def xorbs(self) -> Iterator[Path]:
        """Every xorb, under the name of its Xet hash."""
        return (path for path in self._xorbs.glob("??/*") if path.is_file())

    def get(self, sha256: str) -> bytes:
        """Read a whole file; for cards and other small ones."""
        return self.path(sha256).read_bytes()
