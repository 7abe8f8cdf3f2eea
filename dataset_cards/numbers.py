"""How numbers are written in cards and reports."""

from __future__ import annotations

import math
from collections.abc import Sequence

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_BARS = "▁▂▃▄▅▆▇█"


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


def size(number: int) -> str:
    """Return bytes as `999 B`, `3.0 kB` or `120 MB`, in powers of ten as the Hub counts them."""
    value, unit = float(number), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.1f} {_UNITS[unit]}" if unit and value < 9.95 else f"{value:.0f} {_UNITS[unit]}"


def share(part: int, whole: int) -> str:
    """Return a part of a whole in percent, with one decimal."""
    return f"{100 * part / whole:.1f} %" if whole else "-"


def duration(seconds: float) -> str:
    """Return seconds as `3.2 s`, `4 min 10 s` or `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
