"""The versions of a repo: when, by which fingerprint, how many rows, and what changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hub_tools.errors import HubError
from hub_tools.hub.provenance import Statement
from hub_tools.hub.repository import Hub, Kind, Ref


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One `vN` of a repo; `statement` is None, and `problem` says why, where it has none that can be read."""

    ref: Ref
    date: datetime | None
    statement: Statement | None
    problem: str = ""

    @property
    def changes(self) -> Mapping[str, Any]:
        """What the statement records of changes since the version before it; empty for a first version."""
        found = self.statement.run.get("changes") if self.statement else None
        return found if isinstance(found, dict) else {}


def versions(hub: Hub, repo: str, kind: Kind) -> Iterator[Version]:
    """Yield every published version of a repo, the oldest first."""
    refs = hub.versions(repo, kind)
    dates = {
        commit.commit_id: commit.created_at
        for commit in (
            hub.call(f"{kind} {repo}", lambda: hub.api.list_repo_commits(repo, repo_type=kind))
            if refs
            else []
        )
    }
    for ref in refs:
        try:
            statement, problem = hub.statement(ref), "it holds no provenance statement"
        except HubError as error:
            statement, problem = None, str(error)
        yield Version(
            ref=ref, date=dates.get(ref.sha), statement=statement, problem="" if statement else problem
        )
