"""How long texts are: exact summaries of lengths that are seen once, one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What is said of many lengths: all but `n` in their unit, and 0 where there are none."""

    n: int
    mean: float
    median: float
    p90: float
    max: int


@dataclass(slots=True)
class Lengths:
    """Lengths as a count of each: memory grows with the longest text, not with the number of rows."""

    counts: Counter[int] = field(default_factory=Counter)

    def add(self, values: Iterable[int]) -> None:
        """Take in further lengths."""
        self.counts.update(values)

    def summary(self) -> Summary:
        """Return the summary of all lengths so far."""
        n = self.counts.total()
        if not n:
            return Summary(n=0, mean=0.0, median=0.0, p90=0.0, max=0)
        return Summary(
            n=n,
            mean=sum(value * times for value, times in self.counts.items()) / n,
            median=quantile(self.counts, 0.5),
            p90=quantile(self.counts, 0.9),
            max=max(self.counts),
        )


@dataclass(slots=True)
class PairLengths:
    """The lengths of a dataset's instructions and of its responses, in tokens of one tokenizer."""

    instruction: Lengths = field(default_factory=Lengths)
    response: Lengths = field(default_factory=Lengths)


def summary(values: Iterable[int]) -> Summary:
    """Return the summary of the lengths."""
    return Lengths(Counter(values)).summary()


def quantile(counts: Mapping[int, int], share: float) -> float:
    """Return the length under which this share of all lie, interpolated; there must be at least one."""
    values = sorted(counts)
    ends = list(accumulate(counts[value] for value in values))
    at = share * (ends[-1] - 1)
    low = next(value for value, end in zip(values, ends, strict=True) if end > int(at))
    high = next(
        value for value, end in zip(values, ends, strict=True) if end > min(int(at) + 1, ends[-1] - 1)
    )
    return low + (high - low) * (at - int(at))
