"""Prints dedicated endpoints."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from hub_tools.endpoints.hiring import Survey


def print_endpoints(console: Console, found: Sequence[Survey]) -> None:
    """Print one line an endpoint, and a line for each that nobody minds any more."""
    if not found:
        console.print("There is no dedicated endpoint.")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("endpoint", "model", "instance", "state", "$ an hour", "since", "$ at most", "minded by"):
        table.add_column(heading, overflow="fold")
    for one in found:
        table.add_row(
            one.name, one.model, one.instance, one.state, one.per_hour, one.since, one.cost, one.minded_by
        )
    console.print(table, markup=False)
    for one in found:
        if one.warning:
            console.print(one.warning, highlight=False, markup=False, soft_wrap=True)
