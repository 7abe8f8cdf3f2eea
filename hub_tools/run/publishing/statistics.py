"""Gathers what a card tells of its rows while they stream by: lengths, origins, scores, some examples."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from dataset_cards.facts import Example, Origin
from dataset_cards.lengths import Lengths, PairLengths

TEXTS = ("instruction", "response", "draft", "text", "judgement")
EXAMPLES = 12  # from which a card shows the first three, or those that most can be said of
SAMPLED = 2000


class Statistics:
    """Feed it rows with `add`; it keeps counts, a few examples, and a random sample of the pairs."""

    def __init__(self) -> None:
        self.rows = 0
        self.examples: list[Example] = []
        self.words: dict[str, Lengths] = {}
        self.scores: Counter[int | None] = Counter()
        self.sample: list[tuple[str, str]] = []
        self._origins: Counter[tuple[str, str]] = Counter()
        self._random = random.Random(0)

    def add(self, row: Any) -> None:
        """Look at one row."""
        values = {field.name: getattr(row, field.name) for field in dataclasses.fields(row)}
        self.rows += 1
        if values.get("license"):
            self._origins[values["source"], values["license"]] += 1
        texts = _texts(values)
        for name, text in texts.items():
            self.words.setdefault(name, Lengths()).add([len(text.split())])
        if len(self.examples) < EXAMPLES and texts:
            self.examples.append(_example(values["id"], texts))
        if "score" in values:
            self.scores[values["score"]] += 1
        self._draw(texts)

    @property
    def licenses(self) -> set[str]:
        """Every licence that a row names."""
        return {name for _, name in self._origins}

    @property
    def origins(self) -> list[Origin]:
        """How many rows come from which corpus under which licence, the most rows first."""
        ranked = sorted(self._origins.items(), key=lambda item: (-item[1], item[0]))
        return [Origin(source=source, license=name, rows=rows) for (source, name), rows in ranked]

    def lengths(self, count: Callable[[str], int]) -> PairLengths | None:
        """Return the lengths of the sampled pairs in the tokens of `count`; None where there are none."""
        if not self.sample:
            return None
        found = PairLengths()
        found.instruction.add(count(instruction) for instruction, _ in self.sample)
        found.response.add(count(response) for _, response in self.sample)
        return found

    def table(self) -> list[tuple[str, str, str]]:
        """Return (column, what, value) rows for the card."""
        return [row for name, lengths in self.words.items() for row in _lines(name, lengths)] + [
            ("score", f"score {score or 'none'}", f"{self.scores[score]:,}")
            for score in _ordered(self.scores)
        ]

    def summary(self) -> dict[str, Any]:
        """Return what the provenance statement records: mean words by column, and the scores."""
        means = {name: round(lengths.summary().mean, 1) for name, lengths in self.words.items()}
        scores = {str(score or "none"): self.scores[score] for score in _ordered(self.scores)}
        return {"mean_words": means, "scores": scores}

    def _draw(self, texts: dict[str, str]) -> None:
        """Keep each pair with the same probability, however many there are."""
        instruction = texts.get("instruction", texts.get("prompt"))
        response = texts.get("response", texts.get("completion"))
        if instruction is None or response is None:
            return
        at = len(self.sample) if len(self.sample) < SAMPLED else self._random.randrange(self.rows)
        if at < SAMPLED:
            self.sample[at : at + 1] = [(instruction, response)]


def _texts(values: dict[str, Any]) -> dict[str, str]:
    texts = {name: values[name] for name in TEXTS if isinstance(values.get(name), str)}
    if not texts and "prompt" in values:
        texts = {name: values[name][-1]["content"] for name in ("prompt", "completion")}
    return texts


def _example(row_id: str, texts: dict[str, str]) -> Example:
    """Lay out a row: what was asked above, what was answered or written below, side by side."""
    head = {name: text for name, text in texts.items() if name in ("instruction", "prompt")}
    label = {"draft": "web text", "response": "rewritten" if "draft" in texts else "response"}
    order = ["draft", *(name for name in texts if name != "draft" and name not in head)]
    return Example(
        id=row_id, head=head, columns={label.get(name, name): texts[name] for name in order if name in texts}
    )


def _ordered(scores: Iterable[int | None]) -> list[int | None]:
    return sorted(scores, key=lambda score: (score is None, score or 0))


def _lines(name: str, lengths: Lengths) -> list[tuple[str, str, str]]:
    found = lengths.summary()
    return [
        (name, "mean words", f"{found.mean:,.0f}"),
        (name, "median", f"{found.median:,.0f}"),
        (name, "90 %", f"{found.p90:,.0f}"),
        (name, "longest", f"{found.max:,}"),
    ]
