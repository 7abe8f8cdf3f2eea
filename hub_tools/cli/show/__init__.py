"""How what was found looks on a terminal, and as JSON for programs: one module a verb."""

from __future__ import annotations

from rich.text import Text

from dataset_cards.escape import visible


def plain(text: str) -> Text:
    """Return text of others as it is: no markup, no terminal escape."""
    return Text(visible(text))


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun, such as `1 file` or `1,200 files`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
