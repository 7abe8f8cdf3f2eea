"""What a repo's `provenance.json` says, read part by part: it may come from anybody and have any shape."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from hub_tools.hub.server.blobs import BlobStore
from hub_tools.hub.server.trees import Tree

FILE = "provenance.json"
MAX_BYTES = 16 << 20
_MAX_ITEMS = 500
_MAX_TEXT = 500
_ADDRESS = re.compile(r"hf://(datasets/)?([\w.-]+/[\w.-]+)@([0-9a-f]{7,40})(?:/.*)?")


@dataclass(frozen=True)
class Input:
    """Something that a commit was made from; `repo` and `sha` are empty for a plain file."""

    name: str
    uri: str
    kind: str = "file"
    repo: str = ""
    sha: str = ""


@dataclass(frozen=True)
class Changes:
    """How a version differs from an earlier one; rows by config as (added, dropped, changed, same)."""

    since: str
    rows: dict[str, tuple[int | None, ...]]
    settings: Sequence[tuple[str, str, str]]
    inputs: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class Record:
    """The parts of a statement that pages show; what is missing or of another shape is empty."""

    node: str = ""
    stage: str = ""
    fingerprint: str = ""
    read: int | None = None
    kept: int | None = None
    rejects: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    changes: Changes | None = None
    inputs: Sequence[Input] = ()

    @property
    def size(self) -> int | None:
        """How many rows came out; rejected ones do not count."""
        return self.kept or sum(self.rows.values()) or None


def record(blobs: BlobStore, tree: Tree) -> Record | None:
    """The record of a commit; None if it has no statement, or one that is no JSON object."""
    entry = tree.get(FILE)
    return _record(blobs, entry.sha256) if entry and entry.size <= MAX_BYTES else None


@lru_cache(maxsize=256)
def _record(blobs: BlobStore, sha256: str) -> Record | None:
    try:
        document = json.loads(blobs.get(sha256))
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    predicate = _mapping(document.get("predicate"))
    build, run = _mapping(predicate.get("buildDefinition")), _run(predicate)
    external = _mapping(build.get("externalParameters"))
    return Record(
        node=_text(external.get("node")),
        stage=_text(external.get("stage")),
        fingerprint=_text(_mapping(build.get("internalParameters")).get("fingerprint")),
        read=_number(run.get("read")),
        kept=_number(run.get("kept")),
        rejects=_numbers(run.get("rejects")),
        rows=_numbers(run.get("rows")),
        changes=_changes(run.get("changes")),
        inputs=[_input(_mapping(item)) for item in _items(build.get("resolvedDependencies"))],
    )


def _run(predicate: dict[str, Any]) -> dict[str, Any]:
    """What the statement records of the run itself."""
    products = map(_mapping, _items(_mapping(predicate.get("runDetails")).get("byproducts")))
    return next((_mapping(item.get("annotations")) for item in products if item.get("name") == "run"), {})


def _changes(value: Any) -> Changes | None:
    found = _mapping(value)
    if not found:
        return None
    counts = {
        _text(config): tuple(
            _number(_mapping(row).get(what)) for what in ("added", "dropped", "changed", "same")
        )
        for config, row in list(_mapping(found.get("rows")).items())[:_MAX_ITEMS]
    }
    return Changes(
        _text(found.get("since")), counts, _triples(found.get("settings")), _triples(found.get("inputs"))
    )


def _triples(value: Any) -> list[tuple[str, str, str]]:
    rows = [item for item in _items(value) if isinstance(item, list) and len(item) == 3]
    return [(_text(name), _text(before), _text(now)) for name, before, now in rows]


def _input(item: dict[str, Any]) -> Input:
    name, uri = _text(item.get("name")), _text(item.get("uri"))
    address = _ADDRESS.fullmatch(uri)
    if address is None:
        return Input(name, uri)
    return Input(name, uri, "dataset" if address[1] else "model", address[2], address[3])


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: Any) -> list[Any]:
    return value[:_MAX_ITEMS] if isinstance(value, list) else []


def _numbers(value: Any) -> dict[str, int]:
    pairs = [(_text(key), _number(number)) for key, number in list(_mapping(value).items())[:_MAX_ITEMS]]
    return {key: number for key, number in pairs if number is not None}


def _number(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 2**63 else None


def _text(value: Any) -> str:
    """A short text of any value, whole characters only."""
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value)
    return text[:_MAX_TEXT].encode("utf-8", "replace").decode()
