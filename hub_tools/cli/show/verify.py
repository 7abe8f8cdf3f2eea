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
from hub_tools.cli.show import plain
from hub_tools.hub.repository import Ref
from hub_tools.hub.verify import Checked, Finding


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
    """Print one line a repo, what does not match, and the verdict."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("node", "repo", "verdict"):
        table.add_column(heading, no_wrap=True)
    for heading in ("files", "bytes"):
        table.add_column(heading, justify="right", no_wrap=True)
    for found in checked:
        assert found.link.ref is not None
        verdict = Text("broken", style="red") if found.broken else Text("whole", style="green")
        if not found.link.statement and not found.broken:
            verdict = Text("not ours", style="yellow")
        table.add_row(
            visible(found.link.title), found.link.ref.name, verdict, f"{found.files:,}", f"{found.bytes:,}"
        )
    out.print(table)
    for found in checked:
        for finding in found.findings:
            style = "yellow" if finding.note else "bold red"
            out.print(Text("note: " if finding.note else "broken: ", style=style).append(_place(finding)))
    total = sum(found.bytes for found in checked)
    broken = [found for found in checked if found.broken]
    said = f"{len(broken)} of {len(checked)} repos do not match" if broken else "everything matches"
    files = sum(found.files for found in checked)
    rate = f"{total / 1e6:,.1f} MB in {seconds:.1f} s"
    out.print(plain(f"{ref.name}: {said}; {files:,} files were hashed, {rate}"))
    head = checked[0].link.statement
    if head:
        out.print(plain(f"its statement has the sha256 {head.sha256}"))


def _place(finding: Finding) -> str:
    place = finding.repo + (f", {finding.file}" if finding.file else "")
    if finding.row_group is not None:
        place += f", row group {finding.row_group}"
    return visible(f"{place}: {finding.what}")


def verify_json(checked: Sequence[Checked]) -> dict[str, Any]:
    """Return a verification for programs."""
    return {
        "whole": not any(found.broken for found in checked),
        "repos": [
            {
                "uri": found.link.key,
                "version": found.link.ref.version if found.link.ref else None,
                "statement_sha256": found.link.statement.sha256 if found.link.statement else None,
                "files": found.files,
                "bytes": found.bytes,
                "findings": [
                    {
                        "file": finding.file or None,
                        "row_group": finding.row_group,
                        "what": finding.what,
                        "note": finding.note,
                    }
                    for finding in found.findings
                ],
            }
            for found in checked
        ],
    }
