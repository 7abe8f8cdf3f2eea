"""The YAML block at the head of a README.md, read with distrust: cards come from anybody."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import yaml

MAX_CARD_BYTES = 1 << 20
_MAX_NODES = 50_000
_MAX_DEPTH = 64
_BLOCK = re.compile(r"\A\ufeff?\s*---[ \t]*\r?\n(.*?)(?:^|\n)---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class CardError(ValueError):
    """The card's head is not the YAML mapping it should be."""


def split(card: str) -> tuple[str, str]:
    """Separate a card into its YAML text (empty if there is none) and its body."""
    found = _BLOCK.match(card)
    return (found.group(1), card[found.end() :]) if found else ("", card)


@lru_cache(maxsize=256)
def metadata(card: str) -> dict[str, Any]:
    """Read a card's YAML as plain JSON values; raises `CardError`."""
    plain = read_yaml(split(card)[0])
    if not isinstance(plain, dict):
        raise CardError(f"The card's metadata must be a mapping, but is a {type(plain).__name__}")
    return plain


def read_yaml(text: str) -> Any:
    """Read YAML of anybody as plain JSON values, an empty mapping if there is nothing; raises `CardError`."""
    try:
        _check_shape(text)
        loaded = yaml.load(text, _LOADER)  # noqa: S506 - both loaders are the safe ones
        return _Plain().value(loaded or {})
    # Explicit tags on values they do not fit make the loader fail in every way Python knows.
    except Exception as error:
        raise CardError(f"The card's metadata is not valid YAML: {error}") from error


def _check_shape(head: str) -> None:
    """Refuse what would take the process down: nesting (the loader recurses in C) and merged aliases."""
    depth = 0
    for event in yaml.parse(head, _LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise ValueError(f"nested deeper than {_MAX_DEPTH} levels")
        if isinstance(event, yaml.ScalarEvent) and event.value == "<<":
            raise ValueError("merge keys (<<) are not allowed in a card")


class _Plain:
    """Copies YAML values into what JSON can hold, and stops where nested aliases explode."""

    def __init__(self) -> None:
        self._left = _MAX_NODES

    def value(self, value: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"more than {_MAX_NODES} values")
        if isinstance(value, Mapping):
            return {self._text(key): self.value(item) for key, item in value.items()}
        if isinstance(value, (list, tuple, set)):
            return [self.value(item) for item in value]
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else str(value)
        if isinstance(value, int):
            return value if abs(value) < 2**63 else str(value)
        return self._text(value)

    @staticmethod
    def _text(value: Any) -> str:
        text = value.isoformat() if isinstance(value, datetime.date) else str(value)
        return text.encode("utf-8", "replace").decode("utf-8")


def check(card: Mapping[str, Any]) -> None:
    """Refuse metadata that clients could not read back; raises `CardError`."""
    index = card.get("model-index")
    if index is not None and not (isinstance(index, list) and all(isinstance(one, dict) for one in index)):
        raise CardError("model-index must be a list of mappings")


# The metadata that becomes tags: its key, the type of such a tag, and what stands before it.
_TAGGED = (
    ("license", "license", "license:"),
    ("language", "language", "language:"),
    ("datasets", "dataset", "dataset:"),
    ("base_model", "base_model", "base_model:"),
    ("task_categories", "task_categories", "task_categories:"),
    ("size_categories", "size_categories", "size_categories:"),
    ("library_name", "library", ""),
    ("pipeline_tag", "pipeline_tag", ""),
    ("tags", "other", ""),
)


def typed_tags(card: Mapping[str, Any], kind: str = "dataset") -> dict[str, str]:
    """The tags under which the Hub lists a repo with this metadata, each with its type."""
    found: dict[str, str] = {}
    for key, type_, prefix in _TAGGED:
        for tag in _strings(card.get(key)):
            # Models' languages are tags as they are.
            found.setdefault(tag if (key, kind) == ("language", "model") else prefix + tag, type_)
    return found


def _strings(value: Any) -> list[str]:
    listed = value if isinstance(value, list) else [value]
    return [str(item) for item in listed if isinstance(item, (str, int, float, bool))]
