"""What one node of a run did, for its tables and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSummary:
    """What became of a node's rows (read 0: it takes none), and its losses (step, nats a token) if any.

    `forecast` holds low end, mean and high end of a 90 % interval by measure, `facts` what it was.
    """

    node: str
    repo: str
    version: str
    read: int
    kept: int
    rejects: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    losses: Sequence[tuple[int, float]] = ()
    forecast: Mapping[str, Sequence[float]] = field(default_factory=dict)
    facts: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse counts that do not add up."""
        if self.read != self.kept + sum(self.rejects.values()):
            raise ValueError(
                f"{self.node}: {self.read} rows read are not {self.kept} kept and {dict(self.rejects)}"
            )
