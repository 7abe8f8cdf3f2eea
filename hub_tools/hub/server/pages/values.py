"""How a value of a row looks: numbers, texts with their long part folded, chat turns, lists and fields."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

_ADDRESS = re.compile(r"https?://[^\s\"'<>]+")
_HEAD = 300
_SLACK = 80
_MAX_ITEMS = 50
_MAX_DEPTH = 6


@dataclass(frozen=True)
class Shown:
    """A value ready to show: `head` is always seen, `rest` on demand, `left` is what is not shown at all."""

    kind: Literal["none", "number", "text", "note", "turns", "fields", "list"]
    head: str = ""
    rest: str = ""
    left: int = 0
    items: Sequence[tuple[str, Shown]] = ()

    @property
    def is_link(self) -> bool:
        """Whether the whole text is the address of a web page."""
        return self.kind == "text" and not self.rest and bool(_ADDRESS.fullmatch(self.head))


def shown(value: Any, most: int, depth: int = 0) -> Shown:
    """Prepare a value; texts are cut at `most` characters, lists at fifty items, nesting at six levels."""
    if not isinstance(value, (Mapping, list, tuple)):
        return _scalar(value, most)
    if depth >= _MAX_DEPTH:
        return Shown("note", "…")
    if isinstance(value, Mapping):
        return _listed("fields", [(str(key), item) for key, item in value.items()], most, depth)
    if value and all(map(_is_turn, value)):
        return _listed("turns", [(turn["role"], turn["content"]) for turn in value], most, depth)
    return _listed("list", [("", item) for item in value], most, depth)


def _scalar(value: Any, most: int) -> Shown:
    if value is None:
        return Shown("none")
    if isinstance(value, bool):
        return _text(str(value).lower(), most)
    if isinstance(value, (int, float, Decimal)):
        return Shown("number", str(value))
    if isinstance(value, (bytes, bytearray)):
        return Shown("note", f"{len(value):,} bytes")
    return _text(str(value), most)


def _is_turn(value: Any) -> bool:
    """Whether a value is one message of a chat and nothing more."""
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("role"), str)
        and isinstance(value.get("content"), str)
        and all(item is None for key, item in value.items() if key not in ("role", "content"))
    )


def _listed(
    kind: Literal["turns", "fields", "list"], items: Sequence[tuple[str, Any]], most: int, depth: int
) -> Shown:
    inner = [(name, shown(item, most, depth + 1)) for name, item in items[:_MAX_ITEMS]]
    return Shown(kind, left=max(0, len(items) - _MAX_ITEMS), items=inner)


def _text(text: str, most: int) -> Shown:
    # Folding away a few words would cost more room than it saves.
    cut = _HEAD if len(text) > _HEAD + _SLACK else len(text)
    return Shown("text", text[:cut], text[cut:most], max(0, len(text) - max(most, cut)))


def pieces(text: str, needle: str) -> list[tuple[str, bool]]:
    """The text in pieces, each with whether it is what was searched for."""
    if not needle:
        return [(text, False)]
    split = re.split(f"({re.escape(needle)})", text, flags=re.IGNORECASE)
    return [(piece, index % 2 == 1) for index, piece in enumerate(split) if piece]
