"""A server that speaks TGI's routes and misbehaves on purpose, since no real one does so on demand."""

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

Fault = Callable[[int, dict[str, Any]], int | str | bytes | None]


class FaultServer:
    """`fault(requests so far, body)` names a fault: a status, `drop`, `torn`, `hang`, `cut`, bytes that come
    in place of an answer, or None for one. `slots` work at once, each for `seconds` or a little; the rest
    waits, and TGI's header tells.
    """

    def __init__(self, fault: Fault, slots: int, seconds: float | None) -> None:
        self.fault = fault
        self.requests: Counter[str] = Counter()
        self.rooms: list[int] = []
        self.in_flight = self.most = self.answered = 0
        self.url = ""
        self.about: dict[str, Any] = {"model_id": "demo/m", "model_sha": "s", "router": "t"}
        self.retry_after: str | None = None
        self.tells = True
        self._seconds = seconds
        self._slots = asyncio.Semaphore(slots)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests[body["messages"][0]["content"]] += 1
        self.rooms.append(body["max_tokens"])
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        loop = asyncio.get_running_loop()
        came = loop.time()
        try:
            async with self._slots:
                queued = loop.time() - came
                await asyncio.sleep(self._seconds or random.random() * 0.01)
            response = await self._answer(request, body)
            if self.tells:
                response.headers["x-queue-time"] = str(round(queued * 1000))
            return response
        finally:
            self.in_flight -= 1

    async def _answer(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        fault = self.fault(self.requests.total(), body)
        if fault == "drop":
            assert request.transport is not None
            request.transport.abort()
        if fault == "hang":
            await asyncio.sleep(3600)
        if isinstance(fault, bytes):
            return web.Response(body=fault, content_type="application/json")
        if isinstance(fault, int):
            headers = {"Retry-After": self.retry_after} if self.retry_after else {}
            return web.json_response({"error": "no", "error_type": "test"}, status=fault, headers=headers)
        message = {"role": "assistant", "content": f"echo {body['messages'][0]['content']} {body['seed']}"}
        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
        self.answered += fault is None
        reason = "length" if fault == "cut" else "stop"
        choices = [{"message": message, "finish_reason": reason}]
        model = self.about["model_id"]
        message["content"] += "" if model == "demo/m" else f" by {model}"
        answer = json.dumps({"model": model, "choices": choices, "usage": usage})
        return web.Response(text=answer[:-9] if fault == "torn" else answer, content_type="application/json")

    async def info(self, request: web.Request) -> web.Response:
        return web.json_response(self.about)

    async def health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def chat_tokenize(self, request: web.Request) -> web.Response:
        """One token a word."""
        words = (await request.json())["messages"][0]["content"].split()
        return web.json_response({"tokenize_response": [{"id": 0}] * len(words), "templated_text": ""})


@contextmanager
def serving(
    fault: Fault = lambda *_: None, *, slots: int = 1000, seconds: float | None = None, port: int = 0
) -> Iterator[FaultServer]:
    """Run a FaultServer in a thread."""
    loop, ready = asyncio.new_event_loop(), threading.Event()
    server = FaultServer(fault, slots, seconds)
    runner: web.AppRunner

    async def start() -> None:
        nonlocal runner
        app = web.Application()
        app.add_routes(
            [
                web.post("/v1/chat/completions", server.chat),
                web.post("/chat_tokenize", server.chat_tokenize),
                web.get("/info", server.info),
                web.get("/health", server.health),
            ]
        )
        runner = web.AppRunner(app, shutdown_timeout=0, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        ready.set()

    def run() -> None:
        loop.run_until_complete(start())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
