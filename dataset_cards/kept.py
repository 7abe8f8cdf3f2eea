"""The passage of a card that a person wrote on the Hub, carried over to the card of the next version."""

from __future__ import annotations

START = "<!-- backforth:keep:start -->"
END = "<!-- backforth:keep:end -->"
PLACEHOLDER = "<!-- What is written between these two lines by hand stays here in the next version. -->"


def keep(previous_card: str | None, new_card: str) -> str:
    """Return the new card with the marked passage of the previous one in its place.

    Broken markers lose nothing that can still be told apart: a missing end is taken to be before the next
    generated heading, several passages become one, a stray end is ignored. A card without markers gets
    them at its end.
    """
    headings = {line for line in new_card.split("\n") if line.startswith(("# ", "## "))}
    passage = _passage((previous_card or "").replace("\r\n", "\n").split("\n"), headings)
    if not passage:
        return new_card
    lines = new_card.split("\n")
    start, end = _region(lines)
    if start is None or end is None:
        return "\n".join([new_card.rstrip("\n"), "", START, passage, END, ""])
    return "\n".join([*lines[: start + 1], passage, *lines[end:]])


def _passage(lines: list[str], headings: set[str]) -> str:
    """Return what a person wrote between the markers of a card."""
    marks = [line.strip() if line.strip() in (START, END) else "" for line in lines]
    found: list[str] = []
    for start in (at for at, mark in enumerate(marks) if mark == START):
        end = next((at for at in range(start + 1, len(lines)) if marks[at]), len(lines))
        if end == len(lines) or marks[end] == START:
            end = next((at for at in range(start + 1, end) if lines[at] in headings), end)
        found += [line for line in lines[start + 1 : end] if line.strip() != PLACEHOLDER]
    text = "\n".join(found)
    return text.strip("\n") if text.strip() else ""


def _region(lines: list[str]) -> tuple[int | None, int | None]:
    """Return the line numbers of the first marker pair."""
    start = lines.index(START) if START in lines else None
    end = next(
        (at for at, line in enumerate(lines) if line == END and start is not None and at > start), None
    )
    return start, end


def without(card: str) -> str:
    """Return the card without what is written between the markers, which stay.

    Two cards that differ in nothing but that passage are the same without it.
    """
    lines = card.replace("\r\n", "\n").split("\n")
    start, end = _region(lines)
    return "\n".join(lines if start is None or end is None else [*lines[: start + 1], *lines[end:]])
