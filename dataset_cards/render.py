"""Cards from templates: the Jinja environment, and the small shapes that templates cannot make themselves."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dataset_cards import escape, kept
from dataset_cards.facts import Common, Funnel

_BARS = "▁▂▃▄▅▆▇█"


def render(template: str, **values: object) -> str:
    """Return the text of a template, with runs of blank lines outside code blocks as one."""
    text = _environment().get_template(template).render(**values)
    return _tidied(text).strip("\n") + "\n"


@cache
def _environment() -> Environment:
    """Return the environment in which every template of this package is read."""
    environment = Environment(  # noqa: S701 - Markdown, not HTML: each value goes through a filter of escape.py
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = {
        name: getattr(escape, name) for name in ("inline", "code", "cell", "prose", "fenced", "folded")
    }
    environment.filters |= filters | {
        "count": count,
        "share": share,
        "duration": duration,
        "literal": literal,
    }
    environment.filters |= {"path": quote, "flat": flat}
    environment.globals |= {"keep_start": kept.START, "keep_end": kept.END, "keep_hint": kept.PLACEHOLDER}
    return environment


def _tidied(text: str) -> str:
    """Return the text with at most one blank line in a row; code blocks keep theirs."""
    lines: list[str] = []
    fence = ""
    for line in text.split("\n"):
        ticks = re.match(r"`{3,}", line)
        if fence:
            fence = "" if line == fence else fence
        elif ticks:
            fence = ticks.group()
        elif not line.strip() and lines and not lines[-1]:
            continue
        lines.append(line if fence or line.strip() else "")
    return "\n".join(lines)


def common(facts: Common) -> dict[str, object]:
    """Return what the templates of both kinds of card need beside the facts."""
    return {"facts": facts, "name": facts.repo.rsplit("/", 1)[-1], "settings": flat(facts.settings)}


def funnel_rows(funnel: Funnel) -> list[tuple[str, int, bool]]:
    """Return the funnel's lines: what, rows, whether it is a reject reason; the commonest reason first."""
    rejects = sorted(funnel.rejects.items(), key=lambda item: (-item[1], item[0]))
    middle = [(reason, rows, True) for reason, rows in rejects if rows]
    return [("read", funnel.read, False), *middle, ("kept", funnel.kept, False)]


def flat(settings: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Return nested settings as dotted names and short texts, in their own order."""
    found: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = escape.folded("" if value is None else str(value), 200)
    return found


def curve(losses: Sequence[tuple[int, float]], points: int = 10) -> list[tuple[int, float]]:
    """Return at most `points` of a curve, evenly spaced, with its first and its last."""
    if len(losses) <= points:
        return list(losses)
    return [losses[round(at * (len(losses) - 1) / (points - 1))] for at in range(points)]


def sparkline(values: Sequence[float], width: int = 60) -> str:
    """Return the values as a row of bars between their extremes, with `?` for one that is not finite."""
    picked = [value for _, value in curve(list(enumerate(values)), width)]
    finite = [value for value in picked if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    step = (high - low) / (len(_BARS) - 1) or 1.0
    return "".join(_BARS[round((value - low) / step)] if math.isfinite(value) else "?" for value in picked)


def count(number: int) -> str:
    """Return a whole number with its thousands apart."""
    return f"{number:,}"


def share(part: int, whole: int) -> str:
    """Return a part of a whole in percent, with one decimal."""
    return f"{100 * part / whole:.1f} %" if whole else "-"


def duration(seconds: float) -> str:
    """Return seconds as `3.2 s`, `4 min 10 s` or `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def literal(text: str) -> str:
    """Return the text as a Python literal of printable ASCII in double quotes where it can be."""
    found = ascii(text)
    return f'"{found[1:-1]}"' if found[0] == "'" and '"' not in found and "\\'" not in found else found
