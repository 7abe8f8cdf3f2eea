"""What stages that ask a model will take, from a pilot of their rows: tokens, hours and dollars, each with
the interval that holds it nine times in ten.

The interval is about rows: which ones the pilot happened to meet, and how many of them reach a later stage.
It knows nothing of an endpoint that gets slower, or fails.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hub_tools.prompts import Prompts, sha256_text
from hub_tools.recipe import Price
from hub_tools.run.graph import Node
from hub_tools.run.pinning import settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

COUNTS = ("rows", "requests", "prompt_tokens", "completion_tokens")
MEASURES = (*COUNTS, "hours", "dollars")
FILE = "forecast.json"
INTERVAL = (5, 95)  # percentiles
DRAWS = 2000
FARTHEST = 4.0  # standard errors: a draw of nearly equal rows says nothing of the rest
SEED = 0  # the same pilot gives the same forecast


class Cost(NamedTuple):
    """What one row of the pilot took at a stage, all its tries together."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Estimate(NamedTuple):
    """A forecast number, and the interval that holds it nine times in ten."""

    low: float
    mean: float
    high: float


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens that an endpoint wrote a second, and with how many requests at work at once."""

    tokens_per_second: float
    at_once: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pilot:
    """What a stage took for the pilot's rows that reached it.

    `sampled` are the ids that the pilot began with, out of `total` rows of `source`; several stages begin
    with the same ones where one reads what the other makes. `key` tells the stage's settings.
    """

    node: str
    key: str
    source: str
    total: int
    sampled: Sequence[str]
    costs: Mapping[str, Cost]
    speed: Speed | None
    price: Price | None

    def columns(self) -> list[list[float]]:
        """Return one line a sampled row: each of MEASURES, all of them nought where it did not get here."""
        return [self._line(self.costs.get(row)) for row in self.sampled]

    def _line(self, cost: Cost | None) -> list[float]:
        if cost is None:
            return [0.0] * len(MEASURES)
        hours = cost.completion_tokens / self.speed.tokens_per_second / 3600 if self.speed else 0.0
        return [1.0, *cost, hours, self._dollars(cost, hours)]

    def _dollars(self, cost: Cost, hours: float) -> float:
        if self.price is None:
            return 0.0
        read = cost.prompt_tokens * self.price.per_million_prompt_tokens / 1e6
        written = cost.completion_tokens * self.price.per_million_completion_tokens / 1e6
        return read + written + hours * self.price.per_hour

    @property
    def unknown(self) -> set[str]:
        """The measures that this pilot cannot tell."""
        slow = self.speed is None
        priceless = self.price is None or (slow and bool(self.price.per_hour))
        return ({"hours"} if slow else set()) | ({"dollars"} if priceless else set())


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a stage will take; a measure that is not known is not there."""

    node: str
    pilot: int
    measures: Mapping[str, Estimate]
    speed: Speed | None
    price: Price | None

    def record(self) -> dict[str, Any]:
        """Return it as the work folder and the provenance statement keep it."""
        return {
            "pilot": self.pilot,
            "measures": {name: list(estimate) for name, estimate in self.measures.items()},
            "speed": asdict(self.speed) if self.speed else None,
            "price": self.price.model_dump() if self.price else None,
        }


def forecast(pilots: Sequence[Pilot]) -> tuple[list[Forecast], dict[str, Estimate]]:
    """Return the forecast of each stage, and the hours and dollars of all of them (where they are known).

    Stages whose pilots began with the same rows share their draws: a row that is long in one is long in the
    next.
    """
    import numpy as np

    sources = list(dict.fromkeys(pilot.source for pilot in pilots))
    drawn: dict[str, NDArray[np.float64]] = {}
    means: dict[str, NDArray[np.float64]] = {}
    for number, source in enumerate(sources):
        group = [pilot for pilot in pilots if pilot.source == source]
        lines = np.hstack([np.asarray(pilot.columns(), dtype=np.float64) for pilot in group])
        draws = _draws(lines, group[0].total, np.random.default_rng(SEED + number))
        total = lines.mean(axis=0) * group[0].total
        for at, pilot in enumerate(group):
            place = slice(at * len(MEASURES), (at + 1) * len(MEASURES))
            drawn[pilot.node], means[pilot.node] = draws[:, place], total[place]
    found = [_forecast(pilot, drawn[pilot.node], means[pilot.node]) for pilot in pilots]
    whole = {
        name: _estimate(
            sum(drawn[pilot.node][:, at] for pilot in pilots), sum(means[pilot.node][at] for pilot in pilots)
        )
        for at, name in enumerate(MEASURES)
        if name in ("hours", "dollars") and pilots and not any(name in pilot.unknown for pilot in pilots)
    }
    return found, whole


def _draws(lines: NDArray[Any], total: int, chance: Any) -> NDArray[Any]:
    """Draw the sums over all rows: those of the pilot are known, and the rest are drawn from rows like them.

    Each draw takes the pilot's rows with other weights, and adds the scatter of the rows that are still to
    come. It is the studentized bootstrap: a draw's distance from the mean counts in its own standard errors,
    which gives the upper end the room that rows with a long tail need.
    """
    import numpy as np

    size = len(lines)
    rest = max(0, total - size)
    mean, scatter = lines.mean(axis=0), lines.std(axis=0, ddof=1 if size > 1 else 0)
    times = chance.multinomial(size, np.full(size, 1 / size), DRAWS)
    again = times @ lines / size
    errors = np.sqrt(np.maximum(0.0, times @ lines**2 / size - again**2) / max(1, size - 1))
    away = np.divide(again - mean, errors, out=np.zeros_like(again), where=errors > 0)
    means = mean - np.clip(away, -FARTHEST, FARTHEST) * scatter / np.sqrt(size)
    noise = np.sqrt(rest) * scatter * chance.standard_normal((DRAWS, lines.shape[1]))
    return np.asarray(lines.sum(axis=0) + np.maximum(0.0, rest * means + noise))


def _forecast(pilot: Pilot, draws: NDArray[Any], means: NDArray[Any]) -> Forecast:
    known = {
        name: _estimate(draws[:, at], means[at])
        for at, name in enumerate(MEASURES)
        if name not in pilot.unknown
    }
    known |= {name: Estimate(*map(round, known[name])) for name in COUNTS}
    known["rows"] = Estimate(*(min(pilot.total, rows) for rows in known["rows"]))
    return Forecast(
        node=pilot.node, pilot=len(pilot.costs), measures=known, speed=pilot.speed, price=pilot.price
    )


def _estimate(draws: Any, mean: Any) -> Estimate:
    import numpy as np

    low, high = np.percentile(draws, INTERVAL)
    return Estimate(float(low), float(mean), float(high))


def content_key(node: Node, model: str, prompts: Prompts, seed: int) -> str:
    """Return what a forecast holds for: a stage's settings, prompts, seed and model, but not its rows."""
    texts = {name: sha256_text(prompts.text(name)) for name in node.stage.prompts}
    content = [node.stage.name, node.stage.version, settings(node), texts, model, seed]
    return sha256_text(json.dumps(content, sort_keys=True))


def save(work: Path, key: str, found: Forecast) -> None:
    """Keep a forecast in a node's work folder."""
    work.mkdir(parents=True, exist_ok=True)
    (work / FILE).write_text(json.dumps({"key": key, **found.record()}), encoding="utf-8")


def load(work: Path, key: str) -> dict[str, Any] | None:
    """Return the record of the forecast in a node's work folder; None without one, or for other settings."""
    try:
        found = json.loads((work / FILE).read_text(encoding="utf-8"))
        return dict(found) if found.pop("key") == key else None
    except (OSError, ValueError, KeyError, AttributeError):
        return None
