"""Pictures as PNG: the same numbers give the same bytes, and no colour is needed to tell things apart."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dataset_cards.escape import visible
from dataset_cards.lengths import Lengths, PairLengths, quantile
from dataset_cards.paper import MEAN_TOKENS, TOP_SHARE

# Okabe and Ito's colours: they stay apart for every kind of colour vision.
COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442"]
GREY, DARK = "#D9D9D9", "#404040"
_DASHES = ["-", "--", ":", "-."]
_STYLE = {
    "font.size": 10,
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.constrained_layout.h_pad": 0.1,
    "figure.constrained_layout.w_pad": 0.1,
}
_LABEL = 32  # characters of the longest name
_REASONS = 12  # bars of the picture of reject reasons


def score_histogram(scores: Mapping[int | None, int]) -> bytes:
    """Return bars of how many judged pairs got each score; None counts answers without a score."""
    total = sum(scores.values()) or 1

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        bars = [scores.get(score, 0) for score in (1, 2, 3, 4, 5, None)]
        drawn = axes.bar(range(6), bars, color=[COLOURS[0]] * 5 + [GREY], edgecolor=DARK)
        axes.bar_label(drawn, [f"{bar:,}\n{100 * bar / total:.1f} %" for bar in bars], padding=2)
        axes.set_xticks(range(6), ["1", "2", "3", "4", "5", "no valid\nscore"])
        axes.set_xlabel("score")
        axes.set_ylabel("judged pairs")
        axes.yaxis.set_major_locator(_whole_numbers())
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.set_ylim(0, 1.2 * max([*bars, 1]))
        axes.set_title(f"Scores of {sum(bars):,} judged pairs (paper: {100 * TOP_SHARE:.1f} % score 5)")

    return png(draw, 6.4, 4.0)


def length_distributions(ours: Mapping[str, PairLengths]) -> bytes:
    """Return boxes of instruction and response lengths in tokens, above the means of the paper's Table 6."""
    names = list(ours)
    labels = [label(name) for name in names] + [f"paper: {name}" for name in MEAN_TOKENS]

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

    return png(draw, 9.6, 1.4 + 0.32 * len(labels))


def reject_reasons(rejects: Mapping[str, int], read: int) -> bytes:
    """Return a bar for each of the commonest reasons for which rows, of all that were read, were left out."""
    ranked = sorted(
        ((reason, rows) for reason, rows in rejects.items() if rows), key=lambda it: (-it[1], it[0])
    )
    shown = ranked if len(ranked) <= _REASONS else ranked[: _REASONS - 1]
    if rest := ranked[len(shown) :]:
        shown = [*shown, (f"{len(rest)} further reasons", sum(rows for _, rows in rest))]

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        bars = [rows for _, rows in shown]
        drawn = axes.barh(range(len(shown)), bars, height=0.7, color=COLOURS[1], edgecolor=DARK)
        axes.bar_label(drawn, [f"{rows:,} ({100 * rows / (read or 1):.1f} %)" for rows in bars], padding=4)
        axes.set_yticks(range(len(shown)), [label(reason) for reason, _ in shown])
        axes.set_ylim(max(len(shown), 2) - 0.4, -0.6)
        axes.set_xlim(0, 1.25 * max([*bars, 1]))
        axes.xaxis.set_major_locator(_whole_numbers())
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.set_xlabel("rows")
        axes.set_title(f"Why {sum(bars):,} of {read:,} rows were left out")

    return png(draw, 7.2, 1.5 + 0.36 * max(len(shown), 2))


def loss_curves(losses: Mapping[str, Sequence[tuple[int, float]]]) -> bytes:
    """Return the loss (step, nats a token) of every named training over its steps."""
    several = sum(bool(points) for points in losses.values()) > 1
    return _curves(losses, "training loss, nats a token", f"Loss of the training{'s' * several}")


def loss_curve(trained: Sequence[tuple[int, float]], held_out: Sequence[tuple[int, float]] = ()) -> bytes:
    """Return one training's loss (step, nats a token) over its steps, beside that on held-out pairs."""
    curves = {"pairs trained on": trained, "held-out pairs": held_out}
    return _curves(curves, "loss, nats a token", "Loss of the training")


def _curves(losses: Mapping[str, Sequence[tuple[int, float]]], heading: str, title: str) -> bytes:
    drawn = {name: points for name, points in losses.items() if points}

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        for at, (name, points) in enumerate(drawn.items()):
            steps, values = zip(*points, strict=True)
            look = {"color": COLOURS[at % len(COLOURS)], "linestyle": _DASHES[at % len(_DASHES)]}
            axes.plot(steps, values, label=label(name), marker="." if len(steps) < 40 else "", **look)
        axes.xaxis.set_major_locator(_whole_numbers())
        axes.set_xlabel("optimiser step")
        axes.set_ylabel(heading)
        axes.set_title(title)
        axes.grid(color=GREY, linewidth=0.5)
        if len(drawn) > 1:
            axes.legend(frameon=False)

    return png(draw, 7.2, 4.0)


def label(text: str) -> str:
    """Return a name that fits beside a bar."""
    text = visible(text).replace("\n", " ")
    text = text if len(text) <= _LABEL else text[: _LABEL - 1] + "…"
    # Matplotlib leaves names with an underscore in front out of legends.
    return f" {text}" if text.startswith("_") else text


def png(draw: Callable[[Any], None], width: float, height: float) -> bytes:
    """Return a drawn figure (inches) as PNG without a date or a version in it."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # The defaults, not a user's own style: the bytes must not depend on the machine's settings.
    style = {**matplotlib.rcParamsDefault, **_STYLE}
    with matplotlib.rc_context(style), warnings.catch_warnings():
        # A character that the font lacks is drawn as a box, which says enough.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _whole_numbers() -> Any:
    """Return a locator that marks no fractions of rows or steps."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=7, integer=True)


def _boxes(axes: Any, lengths: Sequence[Lengths], paper: Sequence[int]) -> None:
    """Draw a box for each of our lengths, and under them a diamond for each mean of the paper."""
    from matplotlib.ticker import LogLocator, NullFormatter

    for at, found in enumerate(lengths):
        _box(axes, at, found)
    for at, mean in enumerate(paper, start=len(lengths)):
        axes.plot(mean, at, "D", color=DARK, markersize=5)
        _beside(axes, at, mean, str(mean))
    axes.axhline(len(lengths) - 0.5, color=DARK, linewidth=0.8)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="x", color=GREY, linewidth=0.5)
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
        boxprops={"facecolor": COLOURS[5], "edgecolor": DARK},
        medianprops={"color": DARK, "linewidth": 2},
    )
    axes.plot(max(mean, 1), at, "o", color=COLOURS[4], markeredgecolor="white", markersize=6)
    _beside(axes, at, box["whishi"], f"{mean:.0f}")


def _beside(axes: Any, at: int, x: float, text: str) -> None:
    """Write a text to the right of a point."""
    axes.annotate(text, (x, at), (8, 0), textcoords="offset points", va="center", fontsize=8)
