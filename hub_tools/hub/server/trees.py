"""A commit's files: path to git blob id, size, content hash and the commit that last changed it."""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from hub_tools.hub.server.errors import HubError, bad_request

# JSON numbers are exact up to here.
MAX_SIZE = 2**53
_IGNORED = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")


class Entry(NamedTuple):
    """One file of a tree; `oid` is git's blob id, of the LFS pointer where the file is stored by LFS."""

    oid: str
    size: int
    sha256: str
    lfs: bool
    commit: str = ""

    @property
    def etag(self) -> str:
        """What clients cache by: the content's sha256 for LFS files, git's blob id for the others."""
        return self.sha256 if self.lfs else self.oid


Tree = Mapping[str, Entry]


def blob_id(data: bytes) -> str:
    """The id git gives to a file with these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def lfs_pointer(sha256: str, size: int) -> bytes:
    """The small text that git holds in place of an LFS file."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def lfs_entry(sha256: str, size: int) -> Entry:
    """The entry of a file stored by LFS."""
    return Entry(blob_id(lfs_pointer(sha256, size)), size, sha256, lfs=True)


def pack(tree: Tree) -> bytes:
    """Serialize a tree for the database."""
    return zlib.compress(json.dumps(tree, sort_keys=True).encode(), 1)


@lru_cache(maxsize=16)
def unpack(packed: bytes) -> Tree:
    """Read a packed tree; the result is shared between requests and must not be changed."""
    return {path: Entry(*fields) for path, fields in json.loads(zlib.decompress(packed)).items()}


def folders(paths: Iterable[str]) -> set[str]:
    """Every folder that holds one of the paths, at any depth."""
    found: set[str] = set()
    for path in paths:
        folder = path.rpartition("/")[0]
        while folder and folder not in found:
            found.add(folder)
            folder = folder.rpartition("/")[0]
    return found


def check_path(path: str) -> None:
    """Refuse a path that could not be checked out safely, and one that is git's own folder on any system.

    Backslashes are part of names, as on the public Hub; clients for systems that split at them refuse to.
    """
    if path.startswith("..\\") or not all(_is_sound(part) for part in path.split("/")):
        raise HubError(422, f"The path {path[:200]!r} is not allowed in a repo")
    if len(path) > 1024 or any(ord(char) < 32 or ord(char) == 127 for char in path):
        raise HubError(422, f"The path {path[:200]!r} is too long or has control characters")


def _is_sound(part: str) -> bool:
    named = (_plain(name) in (".git", "git~1") for name in part.split("\\"))
    return part not in ("", ".", "..") and len(part.encode()) <= 255 and not any(named)


def _plain(name: str) -> str:
    """A name as systems read it that pass over invisible characters, dots at its end, and a colon's rest."""
    return _IGNORED.sub("", name).partition(":")[0].rstrip(". ").lower()


def check_no_clash(tree: Tree) -> None:
    """Refuse a tree in which one name is both a file and a folder, as git could not hold it."""
    for folder in folders(tree):
        if folder in tree:
            raise bad_request(f"{folder!r} would be both a file and a folder; delete the file first")


@lru_cache(maxsize=16)
def folder_ids(packed: bytes) -> Mapping[str, str]:
    """Git's tree ids of all folders of a packed tree, the root under the empty path."""
    tree = unpack(packed)
    children: dict[str, list[tuple[bytes, bytes]]] = {folder: [] for folder in folders(tree) | {""}}

    def add(path: str, mode: bytes, oid: str, suffix: bytes = b"") -> None:
        folder, _, name = path.rpartition("/")
        record = mode + b" " + name.encode() + b"\0" + bytes.fromhex(oid)
        # Git sorts a folder as if its name ended in a slash.
        children[folder].append((name.encode() + suffix, record))

    for path, entry in tree.items():
        add(path, b"100644", entry.oid)
    ids: dict[str, str] = {}
    for folder in sorted(children, key=lambda name: (-name.count("/"), name == "", name)):
        body = b"".join(record for _, record in sorted(children[folder]))
        ids[folder] = hashlib.sha1(b"tree %d\0" % len(body) + body, usedforsecurity=False).hexdigest()
        if folder:
            add(folder, b"40000", ids[folder], b"/")
    return ids
