"""Shows the versions of a repo."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console

from dataset_cards.escape import folded
from hub_tools.cli.show import plain
from hub_tools.hub.repository import Ref
from hub_tools.hub.versions import Version

SHA = re.compile(r"(@[0-9a-f]{12})[0-9a-f]{28}\b")


def print_versions(out: Console, ref: Ref, versions: Sequence[Version]) -> None:
    """Print one line a version, and under it what changed."""
    out.print(f"[bold]{ref.repo}[/], a {ref.kind}", highlight=False)
    for version in versions:
        date = f"{version.date:%Y-%m-%d %H:%M} UTC" if version.date else ""
        run = version.statement.run if version.statement else {}
        kept = run.get("kept")
        rows = f"{kept:,} rows" if isinstance(kept, int) and ref.kind == "dataset" else ""
        print_tag = f"fp-{version.statement.fingerprint[:12]}" if version.statement else ""
        parts = (f"{version.ref.version:<5}", date, version.ref.sha[:12], print_tag, rows, version.problem)
        out.print(plain("  ".join(part for part in parts if part)))
        for line in _changes(version.changes):
            out.print(plain(f"       {line}"))


def _changes(changes: Mapping[str, Any]) -> Iterator[str]:
    """Say what a statement records of changes; it is data from the Hub, and may have any shape."""
    for config, now in _pairs(changes.get("rows")):
        counts = {key: value for key, value in _pairs(now) if isinstance(value, int) and value}
        if counts:
            told = ", ".join(f"{value:,} {key}" for key, value in counts.items())
            yield f"rows of {config}: {told}"
    for what in ("settings", "inputs"):
        entries = changes.get(what)
        for entry in entries if isinstance(entries, list) else []:
            if isinstance(entry, list) and len(entry) == 3:
                name, before, after = (folded(SHA.sub(r"\1", str(part)), 80) for part in entry)
                yield f"{what[:-1]} {name}: {before or 'absent'} -> {after or 'absent'}"


def _pairs(value: object) -> list[tuple[str, Any]]:
    return [(str(key), item) for key, item in value.items()] if isinstance(value, dict) else []


def versions_json(versions: Sequence[Version]) -> list[dict[str, Any]]:
    """Return the versions for programs."""
    return [
        {
            "version": version.ref.version,
            "sha": version.ref.sha,
            "date": version.date.isoformat() if version.date else None,
            "fingerprint": version.statement.fingerprint if version.statement else None,
            "rows": version.statement.run.get("rows") if version.statement else None,
            "changes": dict(version.changes) or None,
            "problem": version.problem or None,
        }
        for version in versions
    ]
