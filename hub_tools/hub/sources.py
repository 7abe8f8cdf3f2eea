"""The source files of a corpus: at a pinned commit of the Hub, or local and known by their sha256."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from hub_tools.errors import DataError
from hub_tools.hub.digests import sha256
from hub_tools.hub.repository import ADDRESS, Ref

FILE = re.compile(rf"(?P<ref>{ADDRESS.pattern})/(?P<path>.+)", re.DOTALL)


def hub_file(uri: str) -> tuple[Ref, str] | None:
    """Read the address `hf://datasets/ns/name@sha/path` of a file; None for any other."""
    match = FILE.fullmatch(uri)
    ref = Ref.parse(match["ref"]) if match else None
    return (ref, match["path"]) if match and ref else None


def by_digest(given: Sequence[Path], wanted: Mapping[str, str]) -> dict[str, Path]:
    """Find files by their sha256 (`wanted`: name by sha256), those with a wanted name first.

    Folders are looked through; no more files are read than need be.

    Raises:
        DataError: a path that is given does not exist, or cannot be read.
    """
    files: list[Path] = []
    for path in given:
        if not path.exists():
            raise DataError(f"--source {path}: there is no such file or folder")
        files += sorted(entry for entry in path.rglob("*") if entry.is_file()) if path.is_dir() else [path]
    names = set(wanted.values())
    found: dict[str, Path] = {}
    for path in sorted(files, key=lambda path: path.name not in names):
        if found.keys() >= wanted.keys():
            break
        try:
            digest = sha256(path)
        except OSError as error:
            raise DataError(f"--source {path}: it cannot be read: {error.strerror}") from error
        if digest in wanted:
            found.setdefault(digest, path)
    return found
