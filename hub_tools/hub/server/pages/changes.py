"""What differs between the files of two commits, and where they are short texts, line by line."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from hub_tools.hub.server.blobs import BlobStore
from hub_tools.hub.server.trees import Entry, Tree

# Comparing takes up to the square of the lines: past these a change is only named.
_MAX_BYTES = 100_000
_MAX_LINES = 2_000
_MAX_DIFFS = 20
_MAX_SHOWN = 400


@dataclass(frozen=True)
class Change:
    """One file that differs; `lines` is None where it is not shown line by line."""

    path: str
    before: Entry | None
    after: Entry | None
    origin: str
    lines: Sequence[tuple[str, str]] | None
    cut: bool

    @property
    def what(self) -> Literal["added", "changed", "removed", "moved"]:
        """What became of the file."""
        if self.origin:
            return "moved"
        return "added" if self.before is None else "removed" if self.after is None else "changed"


def changes(blobs: BlobStore, before: Tree, after: Tree, most: int) -> tuple[list[Change], int]:
    """The first `most` files that differ, by path, and how many there are in all."""
    gone = {entry.oid: path for path, entry in before.items() if path not in after}
    moved = {
        path: gone[entry.oid] for path, entry in after.items() if path not in before and entry.oid in gone
    }
    hidden = set(moved.values())
    paths = sorted(
        path
        for path in before.keys() | after.keys()
        if path not in hidden
        and (path not in before or path not in after or before[path].oid != after[path].oid)
    )
    found: list[Change] = []
    for path in paths[:most]:
        old, new = before.get(moved.get(path, path)), after.get(path)
        lines = _lines(blobs, old, new) if len(found) < _MAX_DIFFS and path not in moved else None
        cut = lines is not None and len(lines) > _MAX_SHOWN
        found.append(Change(path, old, new, moved.get(path, ""), lines and lines[:_MAX_SHOWN], cut))
    return found, len(paths)


def _lines(blobs: BlobStore, old: Entry | None, new: Entry | None) -> list[tuple[str, str]] | None:
    before, after = _text(blobs, old), _text(blobs, new)
    return None if before is None or after is None else list(_marked(before, after))


def _text(blobs: BlobStore, entry: Entry | None) -> list[str] | None:
    """A file's lines; None if it is no text or too long to compare."""
    if entry is None:
        return []
    if entry.size > _MAX_BYTES:
        return None
    data = blobs.get(entry.sha256)
    try:
        lines = data.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        return None
    return None if b"\0" in data or len(lines) > _MAX_LINES else lines


def _marked(before: Sequence[str], after: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The lines of a unified diff, each with what it is: gone, new, same or a place."""
    kinds = {"-": "gone", "+": "new", " ": "same", "@": "place"}
    for number, line in enumerate(difflib.unified_diff(before, after, lineterm="")):
        if number > 1:  # the two names of the file come first
            yield kinds[line[0]], line
