"""Which tables of rows a repo holds: its configs and splits, and the files of each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from hub_tools.hub.server.trees import Entry, Tree

PACKED = ".gz"
_ORDER = ("parquet", "json", "csv", "tsv")
_FORMS = {
    ".parquet": "parquet",
    ".jsonl": "json",
    ".ndjson": "json",
    ".jsonl.gz": "json",
    ".ndjson.gz": "json",
    ".json.gz": "json",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".tsv": "tsv",
    ".tsv.gz": "tsv",
}
_SPLITS = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "dev": "validation",
    "test": "test",
}
_MAX_TABLES = 200


@dataclass(frozen=True)
class Table:
    """The rows of one config and split: its files by path, in order."""

    config: str
    split: str
    files: Sequence[tuple[str, Entry]]


def tables(card: Mapping[str, Any], tree: Tree) -> list[Table]:
    """The tables that a card's `configs` name, else those that the folders suggest."""
    readable = {path: entry for path, entry in sorted(tree.items()) if form_of(path)}
    return (_declared(card.get("configs"), readable) or _guessed(readable))[:_MAX_TABLES]


def form_of(path: str) -> str:
    """How the rows of a file are written, by the end of its name; empty where they cannot be shown."""
    return next((form for end, form in _FORMS.items() if path.lower().endswith(end)), "")


def _declared(configs: Any, readable: Tree) -> list[Table]:
    found = []
    for config in configs[:_MAX_TABLES] if isinstance(configs, list) else ():
        if isinstance(config, Mapping):
            folder = config.get("data_dir")
            prefix = f"{folder.strip('/')}/" if isinstance(folder, str) else ""
            for split, patterns in _splits(config.get("data_files", "**")):
                files = _matching([prefix + pattern for pattern in patterns], readable)
                if files:
                    found.append(Table(str(config.get("config_name", "default")), split, files))
    return found


def _splits(data_files: Any) -> Iterable[tuple[str, list[str]]]:
    """Splits with their patterns, in any of the forms that cards give them."""
    if isinstance(data_files, Mapping):
        return [(str(split), _strings(patterns)) for split, patterns in data_files.items()]
    if isinstance(data_files, list) and any(isinstance(item, Mapping) for item in data_files):
        items = [item for item in data_files if isinstance(item, Mapping)]
        return [(str(item.get("split", "train")), _strings(item.get("path"))) for item in items]
    return [("train", _strings(data_files))]


def _strings(value: Any) -> list[str]:
    return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str)]


def _matching(patterns: Iterable[str], readable: Tree) -> list[tuple[str, Entry]]:
    wanted = [pattern.removeprefix("./").split("/") for pattern in patterns if len(pattern) <= 300]
    return [
        (path, entry)
        for path, entry in readable.items()
        if any(_fits(path.split("/"), one) for one in wanted)
    ]


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a path fits a pattern in which `**` stands for any number of folders; never slow."""
    at = behind = 0
    star, resume = -1, 0
    while at < len(parts):
        if behind < len(pattern) and pattern[behind] == "**":
            star, resume = behind, at
            behind += 1
        elif behind < len(pattern) and fnmatchcase(parts[at], pattern[behind]):
            at, behind = at + 1, behind + 1
        elif star >= 0:
            resume += 1
            at, behind = resume, star + 1
        else:
            return False
    return all(rest == "**" for rest in pattern[behind:])


def _guessed(readable: Tree) -> list[Table]:
    grouped: dict[tuple[str, str], list[tuple[str, Entry]]] = {}
    # One form, as when the repo is loaded: that of most files.
    forms = Counter(map(form_of, readable))
    main = max(_ORDER, key=lambda form: (forms[form], -_ORDER.index(form)))
    for path, entry in readable.items():
        if form_of(path) != main:
            continue
        folder, _, name = path.rpartition("/")
        config = folder.removeprefix("data").strip("/") or "default"
        word = re.split(r"[^a-z]", name.lower(), maxsplit=1)[0]
        grouped.setdefault((config, _SPLITS.get(word, "train")), []).append((path, entry))
    return [Table(config, split, files) for (config, split), files in sorted(grouped.items())]
