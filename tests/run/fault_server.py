"""A server that speaks TGI's chat route and misbehaves on purpose, since no real one does so on demand."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web


class FaultServer:
    """`fault(requests so far, body)` names a fault: a status, `drop`, `torn`, or None for an answer."""

    def __init__(self, fault: Callable[[int, dict[str, Any]], int | str | None]) -> None:
        self._fault = fault
        self.requests: Counter[str] = Counter()
        self.in_flight = self.most = self.answered = 0
        self.url = ""
        self.limits: dict[str, Any] = {}

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests[body["messages"][0]["content"]] += 1
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            await asyncio.sleep(random.random() * 0.01)
            return self._answer(request, body)
        finally:
            self.in_flight -= 1

    def _answer(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        fault = self._fault(self.requests.total(), body)
        if fault == "drop":
            assert request.transport is not None
            request.transport.abort()
        if isinstance(fault, int):
            return web.json_response({"error": "no", "error_type": "test"}, status=fault)
        message = {"role": "assistant", "content": f"echo {body['messages'][0]['content']} {body['seed']}"}
        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
        self.answered += fault is None
        answer = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage})
        return web.Response(text=answer[:-9] if fault == "torn" else answer, content_type="application/json")

    async def info(self, request: web.Request) -> web.Response:
        return web.json_response(
            {
                "model_id": "demo/m",
                "model_sha": "s",
                "max_concurrent_requests": 8,
                "router": "t",
                **self.limits,
            }
        )


@contextmanager
def serving(
    fault: Callable[[int, dict[str, Any]], int | str | None] = lambda *_: None,
) -> Iterator[FaultServer]:
    """Run a FaultServer in a thread."""
    server, ready, loop = FaultServer(fault), threading.Event(), asyncio.new_event_loop()

    async def start() -> None:
        app = web.Application()
        app.add_routes([web.post("/v1/chat/completions", server.chat), web.get("/info", server.info)])
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        ready.set()

    def run() -> None:
        loop.run_until_complete(start())
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(10)
    yield server
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
