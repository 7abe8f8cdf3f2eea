"""What came of a node, as the runner hands it to publishing and to the closing table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from hub_tools.hub.provenance import Statement
from hub_tools.hub.repository import Ref
from hub_tools.run.generation.generate import Spent
from hub_tools.run.graph import Node
from hub_tools.run.pinning import Pinned
from hub_tools.run.publishing.statistics import Statistics
from hub_tools.stages.registry import Extras, Model


@dataclass(slots=True, kw_only=True)
class Made:
    """What a node made, on local disk, before it is published: files by path in the repo, counts, and
    facts. `reject_details` are what is said of one row of each reason.
    """

    node: Node
    pinned: Pinned
    started: datetime
    seconds: float
    files: Mapping[str, Path]
    rows: Mapping[str, int] = field(default_factory=dict)
    rejects: Mapping[str, int] = field(default_factory=dict)
    reject_details: Mapping[str, str] = field(default_factory=dict)
    read: int = 0
    statistics: Statistics = field(default_factory=Statistics)
    spent: Spent | None = None
    forecast: Mapping[str, Any] | None = None
    endpoint: str | None = None
    extras: Extras = field(default_factory=Extras)
    model: Model | None = None

    @property
    def kept(self) -> int:
        """How many of the rows that were read came through."""
        return self.read - sum(self.rejects.values())

    def record(self) -> dict[str, Any]:
        """Return what the provenance statement records of the run."""
        record: dict[str, Any] = {
            "read": self.read,
            "kept": self.kept,
            "rejects": dict(self.rejects),
            "rows": dict(self.rows),
            "seconds": round(self.seconds, 1),
            "origins": [[origin.source, origin.license, origin.rows] for origin in self.statistics.origins],
            **self.statistics.summary(),
        }
        if self.spent:
            record["generation"] = {
                "requests": self.spent.requests,
                "prompt_tokens": self.spent.prompt_tokens,
                "completion_tokens": self.spent.completion_tokens,
                "endpoint": self.endpoint,
            }
        if self.forecast:
            record["forecast"] = dict(self.forecast)
        if self.model:
            record["losses"] = [[step, loss] for step, loss in self.model.losses]
            record["counts"] = dict(self.model.counts)
            record["example_prompt"] = self.model.example_prompt
            record["threads"] = _threads()
        return record


def _threads() -> int:
    """Return how many threads torch computes with: sums of floats depend on it in their last bits."""
    import torch

    return torch.get_num_threads()


@dataclass(frozen=True, slots=True)
class Outcome:
    """A node as the closing table shows it."""

    node: str
    state: Literal["ran", "up to date"]
    ref: Ref
    read: int
    kept: int
    rejects: Mapping[str, int]
    seconds: float

    @classmethod
    def of(cls, node: str, state: Literal["ran", "up to date"], ref: Ref, statement: Statement) -> Outcome:
        """Read the counts out of a provenance statement."""
        run = statement.run
        return cls(
            node,
            state,
            ref,
            run.get("read", 0),
            run.get("kept", 0),
            run.get("rejects", {}),
            run.get("seconds", 0.0),
        )
