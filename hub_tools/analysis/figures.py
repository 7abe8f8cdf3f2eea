"""The picture that only a report has: what became of the rows, node by node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dataset_cards.plots import COLOURS, GREY, label, png
from hub_tools.analysis.nodes import NodeSummary

_HATCHES = ["", "///", "...", "\\\\\\", "xxx", "---", "+++"]
_OTHER = "other reasons"


def outcomes(nodes: Sequence[NodeSummary]) -> bytes:
    """Return one bar a node: the share of its rows that were kept, and rejected for each reason."""
    readers = [node for node in nodes if node.read]
    reasons = _reasons(readers)

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        left = [0.0] * len(readers)
        parts = {"kept": [node.kept for node in readers]} | {
            reason: [_rejected(node, reason, reasons) for node in readers] for reason in reasons
        }
        for at, (part, rows) in enumerate(parts.items()):
            shares = [100 * number / node.read for number, node in zip(rows, readers, strict=True)]
            look = {"color": GREY} if at == 0 else {"color": COLOURS[at - 1], "hatch": _HATCHES[at - 1]}
            axes.barh(range(len(readers)), shares, left=left, edgecolor="white", label=label(part), **look)
            left = [before + now for before, now in zip(left, shares, strict=True)]
        labels = [f"{label(node.node)}\n{node.kept:,} of {node.read:,}" for node in readers]
        axes.set_yticks(range(len(readers)), labels)
        axes.invert_yaxis()
        axes.set_xlim(0, 100)
        axes.set_xlabel("share of the rows that the node read, %")
        axes.set_title("What became of the rows")
        figure.legend(loc="outside right upper", frameon=False)

    return png(draw, 9.6, 1.6 + 0.5 * len(readers))


def _reasons(nodes: Sequence[NodeSummary]) -> list[str]:
    """Return the commonest reject reasons, as many as there are colours; the rest go under one name."""
    total: dict[str, int] = {}
    for node in nodes:
        for reason, rows in node.rejects.items():
            total[reason] = total.get(reason, 0) + rows
    ranked = sorted(
        (reason for reason in total if total[reason]), key=lambda reason: (-total[reason], reason)
    )
    return ranked if len(ranked) <= len(COLOURS) else [*ranked[: len(COLOURS) - 1], _OTHER]


def _rejected(node: NodeSummary, reason: str, reasons: Sequence[str]) -> int:
    """Return a node's rejects for a reason, or for all that no bar of their own shows."""
    if reason != _OTHER:
        return node.rejects.get(reason, 0)
    return sum(rows for name, rows in node.rejects.items() if name == _OTHER or name not in reasons)
