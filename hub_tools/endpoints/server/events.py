"""Server-sent events: the response that carries them, and what is in them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

DONE = "[DONE]"
_KEEP_ALIVE_SECONDS = 15.0  # proxies close connections on which nothing comes for long

Events = AsyncGenerator[Mapping[str, Any] | str]


class EventStream(Response):
    """Sends events as they come, and closes their generator as soon as the client has gone."""

    media_type = "text/event-stream"

    def __init__(self, events: Events, headers: Mapping[str, str]) -> None:
        self.status_code = 200
        self.background = None
        self._events = events
        self.init_headers({"cache-control": "no-cache", "x-accel-buffering": "no", **headers})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send everything, or stop when the client does not want it any more."""
        tasks = [asyncio.ensure_future(self._send(send)), asyncio.ensure_future(gone(receive))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._events.aclose()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        while (event := await self._next(send)) is not None:
            data = event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)
            await _write(send, f"data: {data}\n\n")
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _next(self, send: Send) -> Mapping[str, Any] | str | None:
        upcoming = asyncio.ensure_future(anext(self._events, None))
        try:
            while not (await asyncio.wait([upcoming], timeout=_KEEP_ALIVE_SECONDS))[0]:
                await _write(send, ":\n\n")
            return await upcoming
        finally:
            if not upcoming.done():
                upcoming.cancel()
                with suppress(asyncio.CancelledError):
                    await upcoming


async def gone(receive: Receive) -> None:
    """Return when the client has closed the connection; the body must have been read before."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _write(send: Send, text: str) -> None:
    await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
