"""Results of evaluations that model repos keep in `.eval_results/*.yaml`, and their ranking by benchmark."""

from __future__ import annotations

from typing import Any

from hub_tools.hub.server import cards
from hub_tools.hub.server.blobs import BlobStore
from hub_tools.hub.server.trees import Entry, Tree

Json = dict[str, Any]

_FOLDER = ".eval_results/"
_MAX_FILES, _MAX_BYTES, _MAX_RESULTS = 200, 256 << 10, 5000


def results(blobs: BlobStore, tree: Tree) -> list[Json]:
    """Every result with its file's name, and an error for each file that holds none."""
    paths = sorted(path for path in tree if path.startswith(_FOLDER) and path.endswith((".yaml", ".yml")))
    found: list[Json] = []
    for path in paths[:_MAX_FILES]:
        name = path.removeprefix(_FOLDER)
        try:
            read = [_checked(item) for item in _items(blobs, tree[path])]
        except cards.CardError as error:
            found.append({"filename": name, "error": str(error)})
            continue
        found += [{"filename": name, "verified": False, "data": data} for data in read]
    return found[:_MAX_RESULTS]


def _items(blobs: BlobStore, entry: Entry) -> list[Any]:
    if entry.size > _MAX_BYTES or not blobs.has(entry.sha256):
        raise cards.CardError("The file is too large, or lost")
    items = cards.read_yaml(blobs.get(entry.sha256).decode("utf-8", "replace"))
    if not isinstance(items, list):
        raise cards.CardError("The file must be a list of results")
    return items


def _checked(item: Any) -> Json:
    """A result as clients read it; raises `CardError`."""
    dataset = item.get("dataset") if isinstance(item, dict) else None
    if not isinstance(dataset, dict) or not all(
        isinstance(dataset.get(key), str) for key in ("id", "task_id")
    ):
        raise cards.CardError("A result must name the id and the task_id of its dataset")
    if "value" not in item:
        raise cards.CardError("A result must have a value")
    if not isinstance(item.get("source", {}), dict):
        raise cards.CardError("The source of a result must be a mapping with its url")
    return dict(item)


def ranked(named: list[tuple[Json, Json]]) -> list[Json]:
    """Results, each with what is known of its model, as a leaderboard has them: the highest number first."""
    numbers = [
        (float(result["data"]["value"]), model, result)
        for model, result in named
        if isinstance(result["data"]["value"], (int, float))
    ]
    numbers.sort(key=lambda one: -one[0])
    return [
        model
        | {
            "rank": rank,
            "value": value,
            "filename": f"{_FOLDER}{result['filename']}",
            "verified": result["verified"],
            "source": result["data"].get("source"),
            "notes": result["data"].get("notes"),
        }
        for rank, (value, model, result) in enumerate(numbers, start=1)
    ]
