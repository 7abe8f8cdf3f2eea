"""Gathers what a card tells of its rows while they stream by: lengths, licences, and a few examples."""

from __future__ import annotations

import dataclasses
from array import array
from typing import Any

TEXTS = ("instruction", "response", "draft", "text", "judgement")
EXAMPLES = 3


class Statistics:
    """Feed it rows with `add`; four bytes a text are all that it keeps beside the examples."""

    def __init__(self) -> None:
        self.licenses: set[str] = set()
        self.examples: list[dict[str, str]] = []
        self.words: dict[str, array[int]] = {}
        self.scores: dict[str, int] = {}

    def add(self, row: Any) -> None:
        """Look at one row."""
        values = {field.name: getattr(row, field.name) for field in dataclasses.fields(row)}
        if values.get("license"):
            self.licenses.add(values["license"])
        texts = {name: values[name] for name in TEXTS if isinstance(values.get(name), str)}
        if not texts and "prompt" in values:
            texts = {name: values[name][-1]["content"] for name in ("prompt", "completion")}
        for name, text in texts.items():
            self.words.setdefault(name, array("I")).append(len(text.split()))
        if len(self.examples) < EXAMPLES:
            self.examples.append(texts)
        if "score" in values:
            key = str(values["score"] or "none")
            self.scores[key] = self.scores.get(key, 0) + 1

    def table(self) -> list[tuple[str, str, str]]:
        """Return (column, what, value) rows for the card."""
        return [row for name, counts in self.words.items() for row in _lengths(name, counts)] + [
            ("score", score, str(count)) for score, count in sorted(self.scores.items())
        ]

    def summary(self) -> dict[str, Any]:
        """Return what the provenance statement records: mean words by column, and the scores."""
        means = {name: round(sum(counts) / len(counts), 1) for name, counts in self.words.items() if counts}
        return {"mean_words": means, "scores": self.scores}


def _lengths(name: str, counts: array[int]) -> list[tuple[str, str, str]]:
    ordered = sorted(counts)
    return [
        (name, "words, mean", f"{sum(ordered) / len(ordered):.0f}"),
        (name, "words, median", str(ordered[len(ordered) // 2])),
        (name, "words, longest", str(ordered[-1])),
    ]
