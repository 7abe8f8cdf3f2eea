"""How repos and their files look in the API's answers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

from hub_tools.hub.server import cards, commits, refs
from hub_tools.hub.server.blobs import BlobStore
from hub_tools.hub.server.commits import Commit
from hub_tools.hub.server.repos import Repo
from hub_tools.hub.server.trees import Entry, Tree, lfs_pointer

Json = dict[str, Any]


def read_card(blobs: BlobStore, tree: Tree) -> str:
    """The text of README.md; empty if there is none, or it is lost, or no card at all (too long)."""
    entry = tree.get("README.md")
    if entry is None or entry.size > cards.MAX_CARD_BYTES or not blobs.has(entry.sha256):
        return ""
    return blobs.get(entry.sha256).decode("utf-8", "replace")


def card_data(blobs: BlobStore, tree: Tree) -> Json | None:
    """The metadata of the card; None if there is none or it cannot be read."""
    try:
        return cards.metadata(read_card(blobs, tree)) or None
    except cards.CardError:
        return None


def last_changes(tree: Tree, by_id: Mapping[str, Commit]) -> dict[str, Commit]:
    """The commit that last changed each file, and for each folder the last one of the files in it."""
    found: dict[str, Commit] = {}
    for path, entry in tree.items():
        commit = by_id.get(entry.commit)
        place = path
        while commit and place and (place not in found or found[place].date < commit.date):
            found[place] = commit
            place = place.rpartition("/")[0]
    return found


def file_json(path: str, entry: Entry, changes: Mapping[str, Commit] | None) -> Json:
    """A file in a listing; `changes` are those of `last_changes` where they were asked for."""
    answer: Json = {"type": "file", "oid": entry.oid, "size": entry.size, "path": path}
    if entry.lfs:
        answer["lfs"] = _lfs_json("oid", entry)
    if changes is not None:
        answer["lastCommit"] = _change_json(changes.get(path))
        answer["securityFileStatus"] = None
    return answer


def folder_json(path: str, ids: Mapping[str, str], changes: Mapping[str, Commit] | None) -> Json:
    """A folder in a listing, last changed when one of its files was."""
    answer: Json = {"type": "directory", "oid": ids[path], "size": 0, "path": path}
    if changes is not None:
        answer["lastCommit"] = _change_json(changes.get(path))
    return answer


def _lfs_json(key: str, entry: Entry) -> Json:
    pointer = lfs_pointer(entry.sha256, entry.size)
    return {key: entry.sha256, "size": entry.size, "pointerSize": len(pointer)}


def _change_json(commit: Commit | None) -> Json | None:
    return {"id": commit.oid, "title": commit.title, "date": commit.date} if commit else None


def repo_json(db: sqlite3.Connection, blobs: BlobStore, repo: Repo, revision: str = "main") -> Json:
    """What the Hub tells about a repo at a revision, without its files."""
    oid = refs.resolve(db, repo, revision)
    tree = commits.tree(db, repo, oid)
    card = card_data(blobs, tree)
    answer: Json = {
        "_id": f"{repo.id:024x}",
        "id": repo.name,
        "author": repo.namespace,
        "sha": oid,
        "private": repo.private,
        "gated": repo.gated or False,
        "disabled": False,
        "createdAt": repo.created,
        "lastModified": commits.get(db, repo, oid).date,
        "downloads": 0,
        "likes": 0,
        "tags": list(cards.typed_tags(card or {}, repo.kind)) + _tags_of_files(tree, card or {}, repo.kind),
        "cardData": card,
        "usedStorage": sum(entry.size for entry in tree.values()),
    }
    if repo.kind == "model":
        extra = {"pipeline_tag": "pipeline_tag", "library_name": "library_name", "model-index": "model-index"}
        answer |= {"modelId": repo.name} | {key: (card or {}).get(name) for key, name in extra.items()}
    return answer


def _tags_of_files(tree: Tree, card: Json, kind: str) -> list[str]:
    """What a model's files tell: their formats, and how it came from its base."""
    if kind != "model":
        return []
    formats = [name for name in ("safetensors", "gguf") if any(path.endswith(f".{name}") for path in tree)]
    relation = card.get("base_model_relation") or ("adapter" if "adapter_config.json" in tree else "finetune")
    bases = [tag for tag, type_ in cards.typed_tags(card).items() if type_ == "base_model"]
    related = [tag.replace(":", f":{relation}:", 1) for tag in bases]
    return [tag for tag in formats + related if tag not in cards.typed_tags(card, kind)]


def siblings_json(tree: Tree, blobs: bool) -> list[Json]:
    """The files of a repo as its info lists them; with sizes and ids where `blobs` is asked for."""
    return [_sibling(path, entry, blobs) for path, entry in sorted(tree.items())]


def _sibling(path: str, entry: Entry, blobs: bool) -> Json:
    answer: Json = {"rfilename": path}
    if blobs:
        answer |= {"size": entry.size, "blobId": entry.oid}
    if blobs and entry.lfs:
        answer["lfs"] = _lfs_json("sha256", entry)
    return answer


def pick(answer: Json, fields: Iterable[str]) -> Json:
    """Only the fields a client asked for, besides those that name the repo; all if it asked for none."""
    wanted = set(fields)
    return {k: v for k, v in answer.items() if k in wanted | {"_id", "id"}} if wanted else answer
