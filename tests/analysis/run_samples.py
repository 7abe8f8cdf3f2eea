"""A run as the tests of this folder report it."""

from __future__ import annotations

import math
import random
from collections import Counter

from dataset_cards.lengths import Lengths, PairLengths
from hub_tools.analysis.report import NodeSummary


def node(name: str, kept: int, losses: list[tuple[int, float]] | None = None, **rejects: int) -> NodeSummary:
    """Return a node's summary with counts that add up."""
    return NodeSummary(
        node=name,
        repo=f"demo/backforth-{name}",
        version="v1",
        read=kept + sum(rejects.values()),
        kept=kept,
        rejects=rejects,
        seconds=3.0 * kept,
        losses=losses or [],
    )


def pair(seed: int, instruction: int, response: int, n: int = 200) -> PairLengths:
    """Return lengths scattered around two medians."""
    chance = random.Random(seed)

    def around(median: int) -> Lengths:
        return Lengths(Counter(max(1, round(chance.lognormvariate(math.log(median), 0.6))) for _ in range(n)))

    return PairLengths(around(instruction), around(response))


def curve(start: float, end: float, steps: int = 30) -> list[tuple[int, float]]:
    """Return a loss that falls from one value towards another."""
    return [(step, end + (start - end) * math.exp(-step / 8)) for step in range(1, steps + 1)]


NODES = [
    node("seed", 60, language=4, rank=9),
    node("train-backward", 0, curve(3.1, 1.9)),
    node("responses", 40, too_long=3, near_duplicate=2, control_tokens=1, language=2),
    node("backtranslate", 36, truncated=3, empty=1),
    node("train-forward", 0, curve(2.8, 1.7)),
    node("curate", 34, no_score=2),
    node("rewrite", 27, truncated=4, no_marks=2, copied_prompt=1),
    node("distill", 34),
    node("mix", 87),
    node("train-final", 0, curve(2.6, 1.5, 60)),
]
LENGTHS = {
    "seed": pair(1, 35, 240),
    "curate": pair(2, 60, 430),
    "rewrite": pair(3, 61, 400),
    "distill": pair(4, 60, 510),
}
SCORES = {"curate": {1: 3, 2: 6, 3: 12, 4: 9, 5: 4, None: 7}}
