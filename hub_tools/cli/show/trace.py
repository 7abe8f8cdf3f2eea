"""Shows the life of a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dataset_cards.escape import folded, visible
from hub_tools.cli.show import plain
from hub_tools.hub.repository import Hub
from hub_tools.hub.trace import Stop

FOLD = 400  # characters of a long text on the terminal
SHORT = 20  # characters that are shown again rather than referred to
CARRIED = ("id", "source", "url", "license")


def print_trace(out: Console, hub: Hub, stops: Sequence[Stop], full: bool) -> None:
    """Print what every node made of the row; a text that was shown at an earlier node is not shown again."""
    shown: dict[str, str] = {}
    for number, stop in enumerate(stops, 1):
        head = Text(f"{number}. {visible(stop.statement.node)}", style="bold")
        out.print(head.append(f"  {stop.ref.name}  ", style="cyan").append(_outcome(stop)))
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 3))
        table.add_column(no_wrap=True, style="dim")
        table.add_column(overflow="fold")
        for name, value in _flat(stop.row):
            if name in CARRIED and shown.get(value) == name:
                continue
            if value in shown and len(value) > SHORT:
                table.add_row(visible(name), Text(f"(as {shown[value]} above)", style="dim"))
                continue
            shown.setdefault(value, name)
            table.add_row(visible(name), plain(value if full else folded(value, FOLD)))
        if stop.row:
            out.print(table)
    out.print(plain(f"Its last page: {hub.url(stops[-1].ref)}"))


def _outcome(stop: Stop) -> Text:
    if stop.rejected:
        return Text("rejected here", style="red")
    if stop.dropped:
        return Text(f"left out of the training: {visible(stop.dropped)}", style="red")
    return Text(f"in {', '.join(stop.configs)}" if stop.configs else "trained on it", style="green")


def _flat(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield a row's fields as dotted names and texts; chat messages as one text a turn."""
    for key, value in row.items():
        if key == "generation" and isinstance(value, Mapping):
            yield "written by", _generation(value)
        elif isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            for at, item in enumerate(value):
                if isinstance(item, Mapping) and "content" in item:
                    yield f"{prefix}{key}[{at}] {item.get('role', '')}", str(item["content"])
                else:
                    yield f"{prefix}{key}[{at}]", str(item)
        elif value is not None:
            yield prefix + key, str(value)


def _generation(made: Mapping[str, Any]) -> str:
    return (
        f"{made.get('model')}@{str(made.get('model_sha'))[:12]} on {made.get('endpoint')}, "
        f"temperature {made.get('temperature')}, top-p {made.get('top_p')}, seed {made.get('seed')}, "
        f"{made.get('prompt_tokens')} + {made.get('completion_tokens')} tokens, "
        f"end by {made.get('finish_reason')}"
    )


def trace_json(stops: Sequence[Stop]) -> list[dict[str, Any]]:
    """Return a row's stops for programs."""
    return [
        {
            "node": stop.statement.node,
            "uri": stop.ref.uri,
            "version": stop.ref.version,
            "configs": stop.configs,
            "rejected": stop.rejected,
            "dropped": stop.dropped or None,
            "row": dict(stop.row),
        }
        for stop in stops
    ]
