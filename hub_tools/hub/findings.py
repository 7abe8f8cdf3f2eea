"""What a verification found: what does not match, what is worth knowing, what could not be checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hub_tools.hub.lineage import Link


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What does not match: the repo, the file and its row group (from 0) where it is one, and what is wrong.

    A `note` is worth knowing, but breaks nothing; `unchecked` is a note on what could not be checked at all.
    """

    repo: str
    file: str = ""
    row_group: int | None = None
    what: str
    note: bool = False
    unchecked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One repo or source file that was looked at: its findings, and how many files and bytes were hashed."""

    link: Link
    findings: list[Finding]
    files: int = 0
    bytes: int = 0

    @property
    def broken(self) -> bool:
        """Whether anything is wrong."""
        return any(not finding.note for finding in self.findings)

    @property
    def verdict(self) -> Literal["broken", "whole", "not checked"]:
        """What came of it."""
        if self.broken:
            return "broken"
        return "whole" if self.files else "not checked"
