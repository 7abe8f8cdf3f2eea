"""The report's pictures, as PNG: the same numbers give the same bytes, and no colour is needed to tell."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dataset_cards.escape import visible
from dataset_cards.lengths import Lengths, PairLengths, quantile
from hub_tools.analysis.nodes import NodeSummary
from hub_tools.analysis.paper import MEAN_TOKENS, TOP_SHARE

# Okabe and Ito's colours: they stay apart for every kind of colour vision.
_COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442"]
_GREY, _DARK = "#D9D9D9", "#404040"
_HATCHES = ["", "///", "...", "\\\\\\", "xxx", "---", "+++"]
_DASHES = ["-", "--", ":", "-."]
_STYLE = {"font.size": 10, "text.parse_math": False, "axes.spines.top": False, "axes.spines.right": False}
_OTHER = "other reasons"
_LABEL = 32  # characters of the longest name


def score_histogram(scores: Mapping[int | None, int]) -> bytes:
    """Return bars of how many judged pairs got each score; None counts answers without a score."""
    total = sum(scores.values()) or 1

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        bars = [scores.get(score, 0) for score in (1, 2, 3, 4, 5, None)]
        drawn = axes.bar(range(6), bars, color=[_COLOURS[0]] * 5 + [_GREY], edgecolor=_DARK)
        axes.bar_label(drawn, [f"{bar:,}\n{100 * bar / total:.1f} %" for bar in bars], padding=2)
        axes.set_xticks(range(6), ["1", "2", "3", "4", "5", "no valid\nscore"])
        axes.set_xlabel("score")
        axes.set_ylabel("judged pairs")
        axes.set_ylim(0, 1.2 * max([*bars, 1]))
        axes.set_title(f"Scores of {sum(bars):,} judged pairs (paper: {100 * TOP_SHARE:.1f} % score 5)")

    return _png(draw, 6.4, 4.0)


def length_distributions(ours: Mapping[str, PairLengths]) -> bytes:
    """Return boxes of instruction and response lengths in tokens, above the means of the paper's Table 6."""
    names = list(ours)
    labels = [_label(name) for name in names] + [f"paper: {name}" for name in MEAN_TOKENS]

    def draw(figure: Any) -> None:
        left, right = figure.subplots(1, 2, sharex=True, sharey=True)
        _boxes(left, [ours[name].instruction for name in names], [mean for mean, _ in MEAN_TOKENS.values()])
        _boxes(right, [ours[name].response for name in names], [mean for _, mean in MEAN_TOKENS.values()])
        left.set_yticks(range(len(labels)), labels)
        left.invert_yaxis()
        left.set_title("Instructions")
        right.set_title("Responses")
        figure.supxlabel(
            "tokens a text, log scale (box 25-75 %, whiskers 10-90 %, line median, dot and number mean)",
            fontsize=9,
        )

    return _png(draw, 9.6, 1.4 + 0.32 * len(labels))


def reject_reasons(nodes: Sequence[NodeSummary]) -> bytes:
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
            look = {"color": _GREY} if at == 0 else {"color": _COLOURS[at - 1], "hatch": _HATCHES[at - 1]}
            axes.barh(range(len(readers)), shares, left=left, edgecolor="white", label=_label(part), **look)
            left = [before + now for before, now in zip(left, shares, strict=True)]
        labels = [f"{_label(node.node)}\n{node.kept:,} of {node.read:,}" for node in readers]
        axes.set_yticks(range(len(readers)), labels)
        axes.invert_yaxis()
        axes.set_xlim(0, 100)
        axes.set_xlabel("share of the rows that the node read, %")
        axes.set_title("What became of the rows")
        figure.legend(loc="outside right upper", frameon=False)

    return _png(draw, 9.6, 1.6 + 0.5 * len(readers))


def loss_curves(nodes: Sequence[NodeSummary]) -> bytes:
    """Return the loss of every training over its steps."""
    trained = [node for node in nodes if node.losses]

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        for at, node in enumerate(trained):
            steps, losses = zip(*node.losses, strict=True)
            look = {"color": _COLOURS[at % len(_COLOURS)], "linestyle": _DASHES[at % len(_DASHES)]}
            axes.plot(steps, losses, label=_label(node.node), marker="." if len(steps) < 40 else "", **look)
        axes.set_xlabel("optimiser step")
        axes.set_ylabel("training loss, nats a token")
        axes.set_title("Loss of the trainings")
        axes.grid(color=_GREY, linewidth=0.5)
        if trained:
            axes.legend(frameon=False)

    return _png(draw, 7.2, 4.2)


def _boxes(axes: Any, lengths: Sequence[Lengths], paper: Sequence[int]) -> None:
    """Draw a box for each of our lengths, and under them a diamond for each mean of the paper."""
    from matplotlib.ticker import LogLocator, NullFormatter

    for at, found in enumerate(lengths):
        _box(axes, at, found)
    for at, mean in enumerate(paper, start=len(lengths)):
        axes.plot(mean, at, "D", color=_DARK, markersize=5)
        _beside(axes, at, mean, str(mean))
    axes.axhline(len(lengths) - 0.5, color=_DARK, linewidth=0.8)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="x", color=_GREY, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.margins(x=0.1)


def _box(axes: Any, at: int, lengths: Lengths) -> None:
    """Draw the box of one dataset's lengths, with their mean as a dot and as a number."""
    if not lengths.counts:
        _beside(axes, at, 1, "no rows")
        return
    shares = (("whislo", 0.1), ("q1", 0.25), ("med", 0.5), ("q3", 0.75), ("whishi", 0.9))
    # A length of 0 has no place on a log scale.
    box: dict[str, Any] = {key: max(quantile(lengths.counts, share), 1) for key, share in shares}
    mean = lengths.summary().mean
    axes.bxp(
        [box | {"fliers": []}],
        positions=[at],
        orientation="horizontal",
        widths=0.6,
        patch_artist=True,
        boxprops={"facecolor": _COLOURS[5], "edgecolor": _DARK},
        medianprops={"color": _DARK, "linewidth": 2},
    )
    axes.plot(max(mean, 1), at, "o", color=_COLOURS[4], markeredgecolor="white", markersize=6)
    _beside(axes, at, box["whishi"], f"{mean:.0f}")


def _beside(axes: Any, at: int, x: float, text: str) -> None:
    """Write a text to the right of a point."""
    axes.annotate(text, (x, at), (8, 0), textcoords="offset points", va="center", fontsize=8)


def _reasons(nodes: Sequence[NodeSummary]) -> list[str]:
    """Return the commonest reject reasons, as many as there are colours; the rest go under one name."""
    total: dict[str, int] = {}
    for node in nodes:
        for reason, rows in node.rejects.items():
            total[reason] = total.get(reason, 0) + rows
    ranked = sorted(
        (reason for reason in total if total[reason]), key=lambda reason: (-total[reason], reason)
    )
    return ranked if len(ranked) <= len(_COLOURS) else [*ranked[: len(_COLOURS) - 1], _OTHER]


def _rejected(node: NodeSummary, reason: str, reasons: Sequence[str]) -> int:
    """Return a node's rejects for a reason, or for all that no bar of their own shows."""
    if reason != _OTHER:
        return node.rejects.get(reason, 0)
    return sum(rows for name, rows in node.rejects.items() if name == _OTHER or name not in reasons)


def _label(text: str) -> str:
    """Return a name that fits beside a bar."""
    text = visible(text).replace("\n", " ")
    text = text if len(text) <= _LABEL else text[: _LABEL - 1] + "…"
    # Matplotlib leaves names with an underscore in front out of legends.
    return f" {text}" if text.startswith("_") else text


def _png(draw: Callable[[Any], None], width: float, height: float) -> bytes:
    """Return a drawn figure (inches) as PNG without a date or a version in it."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # The defaults, not a user's own style: the bytes must not depend on the machine's settings.
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **_STYLE}):
        figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
