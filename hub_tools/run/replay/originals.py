"""Finds the very source files that a node was made from: on the Hub, or by sha256 among those given."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from hub_tools.errors import DataError, HubError
from hub_tools.hub.digests import sha256
from hub_tools.hub.provenance import PROVENANCE, Dependency
from hub_tools.hub.repository import Hub, Ref
from hub_tools.hub.sources import by_digest, hub_file
from hub_tools.run.pinning import HUB_FILES, SourceFile

LONGEST_NAME = 255


def originals(
    hub: Hub, ref: Ref, wanted: Sequence[Dependency], given: Sequence[Path], folder: Path
) -> list[SourceFile]:
    """Lay out the source files that a node was made from, under the names that they had: rows may hold those.

    Raises:
        BackforthError: one is neither where the statement says nor among the files and folders `given`.
    """
    local = {entry.digest.get("sha256", ""): entry.uri for entry in wanted if not _on_hub(entry)}
    found = by_digest(given, local)
    files = []
    for at, entry in enumerate(wanted):
        digest = entry.digest.get("sha256", "")
        path = _from_hub(hub, entry) if _on_hub(entry) else found.get(digest)
        if path is None:
            raise DataError(
                f"{ref.name} was made from the file {entry.uri!r} with the sha256 {digest}, and no --source "
                f"holds it; give the file, or a folder that it lies in"
            )
        name = PurePosixPath(entry.uri).name if _on_hub(entry) else _file_name(ref, entry.uri)
        link = folder / f"{at:05d}" / name
        link.parent.mkdir(parents=True)
        link.symlink_to(path.resolve())
        files.append(SourceFile(link, entry.uri, digest))
    return files


def _on_hub(entry: Dependency) -> bool:
    return entry.uri.startswith(HUB_FILES)


def _from_hub(hub: Hub, entry: Dependency) -> Path:
    """Download a source file that lies on the Hub, at its pinned commit."""
    address = hub_file(entry.uri)
    found = hub.file(*address) if address else None
    if found is None or sha256(found) != entry.digest.get("sha256"):
        what = "is not there" if found is None else "has another sha256 than stated"
        raise HubError(f"the source file {entry.uri!r} {what}; nothing can be replayed from it")
    return found


def _file_name(ref: Ref, name: str) -> str:
    plain = PurePosixPath(name).name == name and name not in ("", "..") and "\0" not in name
    if not plain or len(os.fsencode(name)) > LONGEST_NAME:
        raise HubError(
            f"{PROVENANCE} of {ref.name} names the source file {name[:100]!r}: that is no file name"
        )
    return name
