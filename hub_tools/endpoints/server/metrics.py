"""What the server counts, in Prometheus' text format under TGI's names.

The usual client library is of no use here: it appends `_total` to every counter, and TGI's have no such end.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from hub_tools.endpoints.server.jobs import Answered, Request

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = tuple(0.0001 * 1.5**power for power in range(35))
_TOKENS = tuple(2**power for power in range(17))


class Histogram:
    """Counts of values by upper bound, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value in the first bucket that holds it."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self, name: str) -> Iterator[str]:
        """The samples, with buckets that hold all below them, as Prometheus wants it."""
        below = 0
        for bound, count in zip([*self._bounds, float("inf")], self._counts, strict=True):
            below += count
            label = "+Inf" if bound == float("inf") else f"{bound:g}"
            yield f'{name}_bucket{{le="{label}"}} {below}'
        yield f"{name}_sum {self._sum!r}"
        yield f"{name}_count {below}"


class Metrics:
    """One server's counters; they belong to the event loop."""

    def __init__(self) -> None:
        self._counts = Counter({"tgi_request_count": 0, "tgi_request_success": 0})
        self._failures: Counter[str] = Counter()
        self._histograms = {
            "tgi_request_duration": Histogram(_SECONDS),
            "tgi_request_validation_duration": Histogram(_SECONDS),
            "tgi_request_queue_duration": Histogram(_SECONDS),
            "tgi_request_inference_duration": Histogram(_SECONDS),
            "tgi_request_mean_time_per_token_duration": Histogram(_SECONDS),
            "tgi_request_input_length": Histogram(_TOKENS),
            "tgi_request_max_new_tokens": Histogram(_TOKENS),
            "tgi_request_generated_tokens": Histogram(_TOKENS),
        }

    def arrived(self) -> None:
        """Count a request before anything is known of it."""
        self._counts["tgi_request_count"] += 1

    def accepted(self, request: Request) -> None:
        """Note the sizes of a valid request."""
        self._histograms["tgi_request_input_length"].observe(len(request.prompt))
        self._histograms["tgi_request_max_new_tokens"].observe(request.max_new_tokens)

    def failed(self, kind: str) -> None:
        """Count a failure by its kind: `validation`, `overloaded`, `generation`, …"""
        self._failures[kind] += 1

    def answered(self, answered: Answered) -> None:
        """Count a success with its times and size."""
        best = answered.best
        self._counts["tgi_request_success"] += 1
        for name, value in (
            ("duration", answered.total_seconds),
            ("validation_duration", answered.validation_seconds),
            ("queue_duration", best.queue_seconds),
            ("inference_duration", best.inference_seconds),
            ("mean_time_per_token_duration", best.inference_seconds / max(1, best.generated_tokens)),
            ("generated_tokens", best.generated_tokens),
        ):
            self._histograms[f"tgi_request_{name}"].observe(value)

    def text(self, gauges: Mapping[str, float]) -> str:
        """All of it, with `gauges` as they are now."""
        return "\n".join([*self._lines(gauges), ""])

    def _lines(self, gauges: Mapping[str, float]) -> Iterator[str]:
        for name, count in self._counts.items():
            yield from (f"# TYPE {name} counter", f"{name} {count}")
        yield "# TYPE tgi_request_failure counter"
        for kind, count in self._failures.items():
            yield f'tgi_request_failure{{err="{kind}"}} {count}'
        for name, value in gauges.items():
            yield from (f"# TYPE {name} gauge", f"{name} {value:g}")
        for name, histogram in self._histograms.items():
            yield f"# TYPE {name} histogram"
            yield from histogram.lines(name)
