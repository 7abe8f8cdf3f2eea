"""Digests of a checkpoint's files, by which damage is found before anything is done with it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

CHUNK = 16 * 2**20  # bytes that one thread reads at once: big files are digested on all cores


def digests(folder: Path) -> dict[str, str]:
    """Return a digest of every file below a folder by its path there; the files are on the disk by then."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return {path.relative_to(folder).as_posix(): _digest(path, pool) for path in paths}


def damaged(folder: Path, expected: Mapping[str, str]) -> list[str]:
    """Return which of the files are gone or have changed."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [
            name
            for name, digest in expected.items()
            if not (folder / name).is_file() or _digest(folder / name, pool) != digest
        ]


def _digest(path: Path, pool: ThreadPoolExecutor) -> str:
    """Return the sha256 over the sha256 of all chunks, and their number."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        starts = range(0, os.fstat(file.fileno()).st_size, CHUNK)
        parts = pool.map(partial(_part, file.fileno()), starts)
        return f"{hashlib.sha256(b''.join(parts)).hexdigest()}/{len(starts)}"


def _part(descriptor: int, start: int) -> bytes:
    return hashlib.sha256(os.pread(descriptor, CHUNK, start)).digest()
