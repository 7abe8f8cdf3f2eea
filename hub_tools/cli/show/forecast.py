"""Prints what a run will take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from hub_tools.run.forecast import MEASURES, Estimate, Forecast
from hub_tools.run.pilot import Waits

UNITS = ((1e9, "G"), (1e6, "M"), (1e4, "k"))  # from ten thousand on


def print_forecast(
    console: Console, found: Sequence[Forecast], whole: Mapping[str, Estimate], waits: Sequence[Waits]
) -> None:
    """Print one line a stage, each number with its 90 % interval, and what cannot be told yet."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("forecast", no_wrap=True)
    for heading in (*MEASURES, "tokens/s"):
        table.add_column(heading.replace("_", " "), justify="right")
    for one in found:
        cells = [shown(one.measures.get(name)) for name in MEASURES]
        pace = f"{brief(one.speed.tokens_per_second)} ({one.speed.at_once} at once)" if one.speed else "-"
        table.add_row(one.node, *cells, pace)
    if len(found) > 1 and whole:
        table.add_row(
            "all of them", *("" for _ in MEASURES[:-2]), *(shown(whole.get(n)) for n in MEASURES[-2:]), ""
        )
    if found:
        console.print(table, markup=False)
        console.print(
            "In brackets, what holds nine times in ten going by the pilot's rows; the run has their answers. "
            "Hours hold for as many requests at once as the pilot had: one with room for more is faster.",
            highlight=False,
            soft_wrap=True,
        )
    for wait in waits:
        console.print(
            f"{wait.node}: no forecast: {wait.reason}", highlight=False, markup=False, soft_wrap=True
        )


def shown(estimate: Estimate | None) -> str:
    """Return a number with its interval, `-` where it is not known."""
    if estimate is None:
        return "-"
    low, mean, high = (brief(value) for value in estimate)
    return mean if low == high else f"{mean} ({low} to {high})"


def brief(value: float) -> str:
    """Return a number with three digits that count, or all of a whole number below ten thousand."""
    for size, unit in UNITS:
        if value >= size:
            value /= 1e3 if unit == "k" else size
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
    if value == round(value) or value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.01 else f"{value:.1g}"
