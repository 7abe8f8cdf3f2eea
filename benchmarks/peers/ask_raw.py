"""Asks with nothing but aiohttp: the same bodies, as many at a time to each server as it has slots."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import aiohttp
from interface import Given, Row, main


def ask(given: Given, rows: list[Row]) -> Iterator[tuple[str, str | None]]:
    """Send every row once, and read the answers; a row that failed has none."""
    waiting, found = iter(enumerate(rows)), dict[str, str | None]()

    async def work(session: aiohttp.ClientSession, url: str) -> None:
        for number, row in waiting:
            body = {
                "model": "demo/simulated", "messages": [{"role": "user", "content": row["text"]}],
                "max_tokens": 1024, "temperature": 1.0, "top_p": 0.9, "seed": number,
            }  # fmt: skip
            async with session.post(f"{url}/v1/chat/completions", json=body) as response:
                answer = json.loads(await response.read())
                ok = response.status == 200
                found[row["id"]] = answer["choices"][0]["message"]["content"] if ok else None

    async def work_all() -> None:
        timeout = aiohttp.ClientTimeout(total=given.timeout)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            await asyncio.gather(*(work(session, url) for url in given.urls for _ in range(given.slots)))

    asyncio.run(work_all())
    yield from found.items()


if __name__ == "__main__":
    main(ask)
