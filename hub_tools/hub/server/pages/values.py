"""How a value of a row looks: numbers, texts with their long part folded, chat turns, lists and fields."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, NamedTuple

_ADDRESS = re.compile(r"https?://[^\s\"'<>]+")
LONG = 60  # texts that get a column some room
_SLACK, _WORD = 80, 40
_MAX_ITEMS, _MAX_NAME = 50, 200
_PICTURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
_MAX_DEPTH = 6


class Room(NamedTuple):
    """How many characters of a text are seen at once and at all, and what a whole value may take."""

    head: int
    most: int
    characters: int
    items: int


CELL, WHOLE = Room(300, 8_000, 30_000, 300), Room(20_000, 1_000_000, 4_000_000, 10_000)


@dataclass(frozen=True)
class Shown:
    """A value ready to show: `head` is always seen, `rest` on demand, `left` is what is not shown at all."""

    kind: Literal["none", "number", "text", "note", "picture", "turns", "fields", "list"]
    head: str = ""
    rest: str = ""
    left: int = 0
    items: Sequence[tuple[str, Shown]] = ()

    @property
    def is_plain(self) -> bool:
        """Whether this is a short text and nothing more."""
        return self.kind == "text" and len(self.head) <= LONG and not self.head.startswith("http")

    @property
    def is_link(self) -> bool:
        """Whether the whole text is the address of a web page."""
        return (
            self.kind == "text"
            and self.head.startswith("http")
            and not self.rest
            and bool(_ADDRESS.fullmatch(self.head))
        )


def shown(value: Any, room: Room) -> Shown:
    """Prepare a value; texts are cut as there is room, lists at fifty items, nesting at six levels."""
    return _Preparing(room).shown(value, 0)


class _Preparing:
    """One value on its way to the page, and how much room it has left."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._characters = room.characters
        self._items = room.items

    def shown(self, value: Any, depth: int) -> Shown:
        if not isinstance(value, (Mapping, list, tuple)):
            return self._scalar(value)
        if depth >= _MAX_DEPTH:
            return Shown("note", "…")
        if isinstance(value, Mapping):
            return self._listed("fields", [(str(key), item) for key, item in value.items()], depth)
        if value and all(map(_is_turn, value)):
            return self._listed("turns", [(turn["role"], turn["content"]) for turn in value], depth)
        return self._listed("list", [("", item) for item in value], depth)

    def _scalar(self, value: Any) -> Shown:
        if value is None:
            return Shown("none")
        if isinstance(value, bool):
            return self._text(str(value).lower())
        if isinstance(value, (int, float, Decimal)):
            return Shown("number", str(value))
        if isinstance(value, (bytes, bytearray)):
            return Shown("note", f"{len(value):,} bytes")
        return self._text(str(value)) if value != "" else Shown("note", "empty")

    def _listed(
        self, kind: Literal["turns", "fields", "list"], items: Sequence[tuple[str, Any]], depth: int
    ) -> Shown:
        inner: list[tuple[str, Shown]] = []
        for name, item in items[:_MAX_ITEMS]:
            if self._items <= 0:
                break
            self._items -= 1
            inner.append((name[:_MAX_NAME], self.shown(item, depth + 1)))
        return Shown(kind, left=len(items) - len(inner), items=inner)

    def _text(self, text: str) -> Shown:
        head, most = self._room.head, min(self._room.most, max(self._room.head, self._characters))
        # Folding away a few words would cost more room than it saves.
        cut = len(text)
        if cut > head + _SLACK:
            cut = text.rfind(" ", head - _WORD, head) + 1 or head
        self._characters -= min(len(text), most)
        return Shown("text", text[:cut], text[cut:most], max(0, len(text) - max(most, cut)))


def _is_turn(value: Any) -> bool:
    """Whether a value is one message of a chat and nothing more."""
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("role"), str)
        and isinstance(value.get("content"), str)
        and all(item is None for key, item in value.items() if key not in ("role", "content"))
    )


def picture(value: Any) -> tuple[bytes, str] | None:
    """The bytes and media type of a picture, as `datasets` keeps it or bare; None for everything else."""
    data = value.get("bytes") if isinstance(value, Mapping) and value.keys() <= {"bytes", "path"} else value
    if not isinstance(data, bytes):
        return None
    webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    media = "image/webp" if webp else next((kind for head, kind in _PICTURES if data.startswith(head)), "")
    return (data, media) if media else None


def pieces(text: str, needle: str) -> list[tuple[str, bool]]:
    """The text in pieces, each with whether it is what was searched for."""
    if not needle:
        return [(text, False)]
    split = re.split(f"({re.escape(needle)})", text, flags=re.IGNORECASE)
    return [(piece, index % 2 == 1) for index, piece in enumerate(split) if piece]
