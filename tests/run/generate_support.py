"""Rows, a stage that echoes them, and the generator that asks fault servers for it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from fault_server import FaultServer

from hub_tools.recipe import StopWhen
from hub_tools.records import Response
from hub_tools.run.generation.generate import Asked, Generator
from hub_tools.run.generation.journal import Journal
from hub_tools.stages.registry import Answer, Ask, AskConfig, Reject


def rows(count: int) -> list[Response]:
    return [
        Response(
            id=f"{n:016x}",
            source="s",
            url=None,
            license="mit",
            text=f"t{n}",
            n_tokens=1,
            created=None,
            dump=None,
        )
        for n in range(count)
    ]


def parse(answer: Answer, row: Response) -> Response | Reject:
    if "t7 " in answer.text:
        return Reject("seven", answer.text)
    return row


def generator(server: FaultServer | list[FaultServer], journal: Path, **settings: Any) -> Generator:
    """A generator that asks these servers; settings are those of the endpoint and of the stage."""
    servers = server if isinstance(server, list) else [server]
    asked = Asked(
        urls=[one.url for one in servers],
        name="m",
        model="demo/m",
        sha=settings.pop("sha", "s"),
        kind="t",
        concurrency=settings.pop("concurrency", 8),
        timeout=settings.pop("timeout", 5),
        tries=settings.pop("tries", 8),
        patience=settings.pop("patience", 0.2),
        stop_when=settings.pop("stop_when", StopWhen()),
        check=settings.pop("check", lambda _: None),
    )
    texts: dict[int, str] = settings.pop("texts", {})
    ask: Ask[Any, Any] = Ask(
        prompt=lambda row: [{"role": "user", "content": texts.get(int(row.id, 16), row.text)}],
        parse=settings.pop("parse", parse),
    )
    return Generator("stage", 0, AskConfig(**settings), ask, asked, Journal(journal))


def outcomes(work: Generator, count: int) -> list[Any]:
    """Ask for every row, and read the outcomes; the journal is closed whatever comes."""
    ticks = []
    try:
        asyncio.run(work.ask_all(rows(count), lambda done=0, **_: ticks.append(done)))
        assert sum(ticks) == count
        return list(work.outcomes(rows(count)))
    finally:
        work.journal.close()
