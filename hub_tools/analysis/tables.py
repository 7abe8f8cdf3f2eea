"""The report's tables, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dataset_cards.escape import cell, inline
from dataset_cards.lengths import PairLengths, Summary
from dataset_cards.numbers import count, curve, duration, share, sparkline
from dataset_cards.paper import MEAN_TOKENS, PARSED_SHARE, TOP_SHARE
from hub_tools.analysis.nodes import NodeSummary

_BAR = 30  # characters of the longest bar


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    """Return a Markdown table whose first `texts` columns stand left and all others, numbers, right."""
    rules = ["---" if at < texts else "---:" for at in range(len(heads))]
    return "\n".join(f"| {' | '.join(row)} |" for row in [heads, rules, *rows])


def funnel(nodes: Sequence[NodeSummary]) -> str:
    """Return what every node of a run read, kept and rejected, and how long it took."""
    rows = [
        [
            cell(node.node),
            cell(node.repo),
            cell(node.version),
            count(node.read),
            count(node.kept),
            count(node.read - node.kept),
            duration(node.seconds),
        ]
        for node in nodes
    ]
    return table(["Node", "Repo", "Version", "Read", "Kept", "Rejected", "Time"], rows, texts=3)


def rejects(nodes: Sequence[NodeSummary]) -> str:
    """Return every reject reason of every node, as rows and as a share of what the node read."""
    rows = [
        [cell(node.node), cell(reason), count(number), share(number, node.read)]
        for node in nodes
        for reason, number in sorted(node.rejects.items(), key=lambda item: (-item[1], item[0]))
        if number
    ]
    return table(["Node", "Reason", "Rows", "Of those read"], rows, texts=2)


def scores(found: Mapping[int | None, int]) -> str:
    """Return how often a judge gave each score (None: an answer without one), beside the paper's shares."""
    total, most = sum(found.values()), max(found.values(), default=0)
    rows = [
        [
            "none" if score is None else str(score),
            "█" * round(_BAR * found.get(score, 0) / (most or 1)),
            count(found.get(score, 0)),
            share(found.get(score, 0), total),
            {5: f"{TOP_SHARE:.1%}", None: f"{1 - PARSED_SHARE:.1%}"}.get(score, "-").replace("%", " %"),
        ]
        for score in (5, 4, 3, 2, 1, None)
    ]
    return table(["Score", "", "Pairs", "Share", "Paper's share"], rows, texts=2)


def lengths(ours: Mapping[str, PairLengths]) -> str:
    """Return our lengths in tokens above the means of the paper's Table 6."""
    heads = ["Data", "Pairs"] + [
        f"{side} {what}"
        for side in ("Instruction:", "Response:")
        for what in ("mean", "median", "90 %", "longest")
    ]
    rows = [
        [
            cell(name),
            count(pair.response.summary().n),
            *_summary(pair.instruction.summary()),
            *_summary(pair.response.summary()),
        ]
        for name, pair in ours.items()
    ]
    paper = [
        [f"paper: {inline(name)}", "-", str(instruction), "-", "-", "-", str(response), "-", "-", "-"]
        for name, (instruction, response) in MEAN_TOKENS.items()
    ]
    return table(heads, [*rows, *paper])


def _summary(found: Summary) -> list[str]:
    """Return the four cells of a summary."""
    if not found.n:
        return ["-"] * 4
    return [f"{found.mean:.0f}", f"{found.median:.0f}", f"{found.p90:.0f}", count(found.max)]


def forecasts(nodes: Sequence[NodeSummary]) -> str:
    """Return what a pilot forecast for each node beside what it was."""
    rows = [
        [
            cell(node.node),
            cell(measure.replace("_", " ")),
            _amount(measure, mean),
            f"{_amount(measure, low)} to {_amount(measure, high)}",
            _amount(measure, node.facts[measure]),
            "yes" if low <= node.facts[measure] <= high else "no",
        ]
        for node in nodes
        for measure, (low, mean, high) in node.forecast.items()
        if measure in node.facts
    ]
    return table(["Node", "Measure", "Forecast", "90 % interval", "Fact", "Inside"], rows, texts=2)


def _amount(measure: str, value: float) -> str:
    """Return hours as people say them, dollars with their cents, and all else as a whole number."""
    if measure == "hours":
        return duration(3600 * value)
    return f"{value:,.2f}" if measure == "dollars" else count(round(value))


def losses(nodes: Sequence[NodeSummary]) -> str:
    """Return the course of every training's loss, in nats a token."""
    rows = [
        [
            cell(node.node),
            sparkline([loss for _, loss in curve(node.losses, 20)]),
            count(node.losses[-1][0]),
            f"{node.losses[0][1]:.3f}",
            f"{min(loss for _, loss in node.losses):.3f}",
            f"{node.losses[-1][1]:.3f}",
        ]
        for node in nodes
        if node.losses
    ]
    return table(["Training", "Course", "Steps", "First loss", "Lowest", "Last"], rows, texts=2)
