"""The small files of one commit, made durable together: waiting for the disk file by file takes minutes."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hub_tools.hub.server.blobs import BlobStore, sync

_WAITERS = 16
_FEW = 4


class Drafts:
    """Files that have been received but not yet kept; `discard` is right at any time."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._pending: dict[str, Path] = {}

    def add(self, data: bytes) -> str:
        """Write a file that `keep` will store, unless it is there already, and return its sha256."""
        sha256 = hashlib.sha256(data).hexdigest()
        if sha256 not in self._pending and not self._blobs.has(sha256):
            path = self._blobs.incoming / uuid.uuid4().hex
            self._pending[sha256] = path
            path.write_bytes(data)
        return sha256

    def keep(self) -> None:
        """Store all files: first their bytes, then their names, each safe before the next step."""
        _sync_all(self._pending.values())
        folders = {self._blobs.path(sha256).parent for sha256 in self._pending}
        if missing := [folder for folder in folders if not folder.exists()]:
            for folder in missing:
                folder.mkdir(exist_ok=True)
            sync(missing[0].parent)
        for sha256, path in self._pending.items():
            path.replace(self._blobs.path(sha256))
        _sync_all(folders)
        self._pending.clear()

    def discard(self) -> None:
        """Remove what has not been kept."""
        for path in self._pending.values():
            path.unlink(missing_ok=True)
        self._pending.clear()


def _sync_all(paths: Iterable[Path]) -> None:
    """Wait for all paths, many at once, as the disk then writes them in few goes."""
    every = list(paths)
    if len(every) <= _FEW:
        for path in every:
            sync(path)
        return
    with ThreadPoolExecutor(_WAITERS) as waiters:
        list(waiters.map(sync, every))
