"""The report of a run: what every node did, beside the paper's numbers, as one page with pictures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dataset_cards import plots
from dataset_cards.escape import inline
from dataset_cards.lengths import PairLengths
from hub_tools.analysis import figures, tables
from hub_tools.analysis.nodes import NodeSummary

__all__ = ["NodeSummary", "report_body"]


@dataclass(slots=True)
class _Page:
    """A page under way: its sections, and its pictures by their path in the repo."""

    parts: list[str] = field(default_factory=list)
    pictures: dict[str, bytes] = field(default_factory=dict)

    def section(self, title: str, text: str, name: str = "", png: bytes = b"") -> None:
        """Add a heading (plain text), a table, and a picture where one is given."""
        self.parts += [f"## {inline(title)}", text]
        if png:
            path = f"pictures/{re.sub(r'[^a-z0-9-]+', '-', name.lower())}.png"
            self.pictures[path] = png
            self.parts.append(f"![{inline(title)}]({path})")


def report_body(
    nodes: Sequence[NodeSummary],
    lengths: Mapping[str, PairLengths],
    scores: Mapping[str, Mapping[int | None, int]],
) -> tuple[str, dict[str, bytes]]:
    """Return the page (Markdown) and its pictures (path in the repo: PNG).

    `lengths` and `scores` (score or None: pairs) go by the name of the node that they are of.
    """
    page = _Page()
    page.section("The run, node by node", tables.funnel(nodes))
    if any(sum(node.rejects.values()) for node in nodes):
        page.section("Rows left out, by node", tables.rejects(nodes), "rejects", figures.outcomes(nodes))
    if any(node.forecast for node in nodes):
        page.section("The forecast beside the fact", tables.forecasts(nodes))
    for name, found in scores.items():
        png = plots.score_histogram(found)
        page.section(f"Scores of the judged pairs in {name}", tables.scores(found), f"scores-{name}", png)
    if lengths:
        png = plots.length_distributions(lengths)
        page.section("Lengths of instructions and responses", tables.lengths(lengths), "lengths", png)
    if losses := {node.node: node.losses for node in nodes if node.losses}:
        page.section("Losses of the trainings", tables.losses(nodes), "losses", plots.loss_curves(losses))
    return "\n\n".join(page.parts), page.pictures
