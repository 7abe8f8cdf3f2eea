"""Shows a verification."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import DownloadColumn, Progress, TextColumn, TimeElapsedColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from dataset_cards.escape import visible
from hub_tools.cli.show import counted, plain
from hub_tools.hub.findings import Checked, Finding
from hub_tools.hub.repository import Ref

SHOWN = 5  # row groups of one file
STYLES = {"broken": "red", "whole": "green", "not checked": "yellow"}


class Watch:
    """Counts bytes that were hashed: a bar on a terminal, nothing elsewhere."""

    def __init__(self, what: str) -> None:
        self._bars = Progress(
            TextColumn(what),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bars.add_task(what, total=None)
        self.seconds = 0.0

    def __enter__(self) -> Watch:
        self._began = time.monotonic()
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.monotonic() - self._began
        self._bars.stop()

    def count(self, done: int) -> None:
        """Take note of further bytes."""
        self._bars.advance(self._task, done)


def print_checked(out: Console, ref: Ref, checked: Sequence[Checked], seconds: float) -> None:
    """Print one line a repo, what does not match, what was not checked, and the verdict."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("node", overflow="fold")
    table.add_column("repo or file", overflow="fold")
    table.add_column("verdict", no_wrap=True)
    for heading in ("files", "bytes"):
        table.add_column(heading, justify="right", no_wrap=True)
    for found in checked:
        verdict = Text(found.verdict, style=STYLES[found.verdict])
        table.add_row(*_names(found), verdict, f"{found.files:,}", f"{found.bytes:,}")
    out.print(table)
    for found in checked:
        _print_findings(out, found.findings)
    out.print(plain(f"{ref.name}: {_verdict(checked, seconds)}"), soft_wrap=True)
    head = checked[0].link.statement
    if head:
        out.print(plain(f"its statement has the sha256 {head.sha256}"), soft_wrap=True)


def _names(found: Checked) -> tuple[str, str]:
    link = found.link
    if link.ref is None:
        return "", visible(link.title)
    return visible(link.statement.node) if link.statement else "", link.ref.name


def _print_findings(out: Console, findings: Sequence[Finding]) -> None:
    """Print one line a finding; of many row groups of one file, the first few."""
    rest = 0
    for at, finding in enumerate(findings):
        before = findings[at - SHOWN] if at >= SHOWN else None
        if before and finding.row_group is not None and before.file == finding.file:
            rest += 1
            continue
        kind = "not checked" if finding.unchecked else "note" if finding.note else "broken"
        style = "yellow" if finding.note else "bold red"
        out.print(Text(f"{kind}: ", style=style).append(_place(finding), style="default"), soft_wrap=True)
    if rest:
        out.print(plain(f"broken: {rest:,} more row groups; --json lists all"), soft_wrap=True)


def _place(finding: Finding) -> str:
    place = finding.repo + (f", {finding.file}" if finding.file else "")
    if finding.row_group is not None:
        place += f", row group {finding.row_group}"
    return visible(f"{place}: {finding.what}")


def _verdict(checked: Sequence[Checked], seconds: float) -> str:
    """Say in a line whether all that could be checked is whole, and what could not."""
    broken = [found for found in checked if found.broken]
    said = "everything that was checked matches"
    if broken:
        said = f"{len(broken)} of {counted(len(checked), 'repo or source', 'repos and sources')} do not match"
    files, total = sum(found.files for found in checked), sum(found.bytes for found in checked)
    said += f"; {counted(files, 'file')} hashed, {total / 1e6:,.1f} MB in {seconds:.1f} s"
    unchecked = [found for found in checked if found.verdict == "not checked"]
    others = sum(1 for found in unchecked if found.link.ref)
    sources = len(unchecked) - others
    parts = [counted(others, "repo of others", "repos of others")] if others else []
    parts += [counted(sources, "source")] if sources else []
    return said + "; not checked: " + ", ".join([*parts, "the Hub's own .gitattributes"])


def verify_json(checked: Sequence[Checked]) -> dict[str, Any]:
    """Return a verification for programs."""
    return {
        "whole": not any(found.broken for found in checked),
        "repos": [
            {
                "uri": found.link.key,
                "version": found.link.ref.version if found.link.ref else None,
                "statement_sha256": found.link.statement.sha256 if found.link.statement else None,
                "verdict": found.verdict,
                "files": found.files,
                "bytes": found.bytes,
                "findings": [
                    {
                        "file": finding.file or None,
                        "row_group": finding.row_group,
                        "what": finding.what,
                        "note": finding.note,
                        "unchecked": finding.unchecked,
                    }
                    for finding in found.findings
                ],
            }
            for found in checked
        ],
    }
