"""Watches a stage's rows and stops the run when too many go wrong, before all of them have."""

from __future__ import annotations

from hub_tools.endpoints.pool import Pool
from hub_tools.errors import BackforthError
from hub_tools.recipe import StopWhen
from hub_tools.records import Rejected, Row

EXAMPLES = 3
SHOWN = 100  # characters of a text that came from outside


class Watch:
    """Counts outcomes and failures, and keeps the first rejects of each reason as examples."""

    def __init__(self, stage: str, limits: StopWhen) -> None:
        self._stage = stage
        self._limits = limits
        self._rows = 0
        self._rejects: dict[str, int] = {}
        self._examples: dict[str, str] = {}

    def row(self, outcome: Row | Rejected, said: str) -> None:
        """Count a row that has its outcome; `said` is the last answer about it.

        Raises:
            BackforthError: too many rows were rejected.
        """
        self._rows += 1
        if isinstance(outcome, Rejected):
            self._rejects[outcome.reason] = self._rejects.get(outcome.reason, 0) + 1
            example = f"row {outcome.id}: {outcome.detail[:SHOWN]!r}"
            self._examples.setdefault(
                outcome.reason, example + (f", answer {said[:SHOWN]!r}" if said else "")
            )
        rejected = sum(self._rejects.values())
        if self._too_many(rejected, self._rows, self._limits.rejected):
            often = sorted(self._rejects, key=lambda reason: -self._rejects[reason])[:EXAMPLES]
            told = "; ".join(f"{self._rejects[why]} {why}, such as {self._examples[why]}" for why in often)
            raise BackforthError(
                f"{self._stage}: {rejected} of the first {self._rows} rows were rejected, and the endpoint's "
                f"stop_when.rejected is {self._limits.rejected:g}: {told}. Finished answers are kept; mend "
                f"the prompt or the settings, or raise the limit, and run again"
            )

    def endpoint(self, pool: Pool) -> None:
        """Look at how many requests failed.

        Raises:
            BackforthError: too many.
        """
        if self._too_many(pool.failures, pool.failures + pool.answers, self._limits.failed):
            raise BackforthError(
                f"{self._stage}: {pool.failures} of {pool.failures + pool.answers} requests failed, and the "
                f"endpoint's stop_when.failed is {self._limits.failed:g}; the last one: {pool.last_failure}. "
                f"Finished answers are kept; mend the endpoint, or raise the limit, and run again"
            )

    def _too_many(self, wrong: int, of: int, share: float) -> bool:
        return of >= self._limits.of_at_least and wrong > share * of
