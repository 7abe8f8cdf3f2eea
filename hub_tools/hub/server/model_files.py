"""What a model's own files say about it: the heads of its weights, and its configuration."""

from __future__ import annotations

import json
import math
from typing import Any

from hub_tools.hub.server.blobs import BlobStore
from hub_tools.hub.server.errors import entry_not_found
from hub_tools.hub.server.trees import Entry, Tree

Json = dict[str, Any]

WEIGHTS, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"
_MAX_HEAD_BYTES = 25 << 20
_MAX_JSON_BYTES = 64 << 20
_MAX_SHARDS = 2000
_MAX_DIMENSIONS, _MAX_LENGTH = 16, 1 << 48


def head(blobs: BlobStore, entry: Entry) -> Json:
    """The JSON at the beginning of a safetensors file: its tensors; empty if it is no such file."""
    with blobs.path(entry.sha256).open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return _mapping(file.read(length)) if length <= min(_MAX_HEAD_BYTES, entry.size) else {}


def _mapping(data: bytes) -> Json:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _json_file(blobs: BlobStore, tree: Tree, path: str) -> Json:
    entry = tree.get(path)
    return _mapping(blobs.get(entry.sha256)) if entry and entry.size <= _MAX_JSON_BYTES else {}


def sharded(blobs: BlobStore, tree: Tree, index: str) -> Json:
    """The index of a sharded model and the heads of all its shards; raises 404 without an index."""
    if index not in tree:
        raise entry_not_found(index, "main")
    found = _json_file(blobs, tree, index)
    shards = found.get("weight_map")
    names = {name for name in shards.values() if isinstance(name, str)} if isinstance(shards, dict) else set()
    folder = index.rpartition("/")[0]
    paths = {name: f"{folder}/{name}" if folder else name for name in sorted(names)[:_MAX_SHARDS]}
    heads = {name: head(blobs, tree[path]) for name, path in paths.items() if path in tree}
    return {"index": {"metadata": found.get("metadata")}, "headers": heads}


def facts(blobs: BlobStore, tree: Tree) -> Json:
    """The number of parameters by their type, and the architecture, as far as the files tell."""
    config = {
        key: value
        for key, value in _json_file(blobs, tree, CONFIG).items()
        if key in ("architectures", "model_type")
    }
    counts: dict[str, int] = {}
    heads = [head(blobs, tree[WEIGHTS])] if WEIGHTS in tree else []
    if not heads and INDEX in tree:
        heads = list(sharded(blobs, tree, INDEX)["headers"].values())
    for tensor in (tensor for tensors in heads for tensor in tensors.values()):
        kind, count = parameters(tensor)
        counts[kind] = counts.get(kind, 0) + count
    answer: Json = {"config": config} if config else {}
    if counts := {kind: count for kind, count in counts.items() if kind}:
        answer["safetensors"] = {"parameters": counts, "total": sum(counts.values())}
    return answer


def parameters(tensor: Any) -> tuple[str, int]:
    """The type and number of a tensor's elements; no type for what is no tensor."""
    kind, shape = (tensor.get("dtype"), tensor.get("shape")) if isinstance(tensor, dict) else (None, None)
    if not isinstance(kind, str) or not isinstance(shape, list) or len(shape) > _MAX_DIMENSIONS:
        return "", 0
    sound = all(type(size) is int and 0 <= size < _MAX_LENGTH for size in shape)
    return (kind, math.prod(shape)) if sound else ("", 0)
