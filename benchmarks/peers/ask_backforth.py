"""Asks with backforth: the real rewriting stage, journal and pool, and the rows read back in order."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from interface import Given, Row, main

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from hub_tools.prompts import Prompts
from hub_tools.records import Generation, Rejected, Scored
from hub_tools.run.generation.generate import Asked, Generator
from hub_tools.run.generation.journal import Journal
from hub_tools.stages.registry import get_stage

MADE = Generation(
    model="m", model_sha="0", endpoint="t", temperature=1.0, top_p=0.9, seed=1, finish_reason="stop",
    prompt_tokens=1, completion_tokens=1, prompt_sha256="0",
)  # fmt: skip


def pairs(rows: list[Row]) -> Iterator[Scored]:
    """Yield the rows as the stage before hands them on."""
    for row in rows:
        yield Scored(
            id=row["id"], source="s", url=None, license="mit", instruction=row["instruction"],
            response=row["draft"], score=5, expected_score=None, judgement="5", rule="r", generation=MADE,
        )  # fmt: skip


def ask(given: Given, rows: list[Row]) -> Iterator[tuple[str, str | None]]:
    """Run the stage with the settings that a recipe has by default; a rejected row has no text."""
    stage = get_stage("rewrite", "benchmark")
    config: Any = stage.config()
    task: Any = stage.make(config, Prompts().render)
    asked = Asked(
        urls=given.urls, name="demo/simulated", model="demo/simulated", sha="0" * 40, kind="tgi",
        timeout=given.timeout, tries=6, patience=60,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "journal.sqlite")
        generator = Generator("rewrite", 0, config, task, asked, journal)
        asyncio.run(generator.ask_all(pairs(rows), lambda *_, **__: None))
        for row in generator.outcomes(pairs(rows)):
            yield row.id, None if isinstance(row, Rejected) else str(row.response)  # type: ignore[attr-defined]
        journal.close()


if __name__ == "__main__":
    main(ask)
