"""A proxy between the client library and the embedded Hub that lets a test spoil single answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

Spoil = Callable[[web.Request], "str | None"]


@dataclass
class Proxy:
    """Forwards everything; `spoil(request)` may ask for `429`, `drop` (before the Hub sees it) or `lose` (the
    Hub does it, but its answer never arrives).
    """

    upstream: str
    spoil: Spoil = lambda request: None
    seen: list[tuple[str, str, int]] = field(default_factory=list)
    spoilt: list[str] = field(default_factory=list)
    endpoint: str = ""

    def __enter__(self) -> Proxy:
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(10)
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def requests(self, method: str, part: str) -> list[int]:
        """The body sizes of the requests of a method whose path holds a part."""
        return [size for verb, path, size in self.seen if verb == method and part in path]

    def _serve(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._session.close())

    async def _start(self) -> None:
        self._session = aiohttp.ClientSession(auto_decompress=False)
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._forward)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.seen.append((request.method, request.path, len(body)))
        wish = self.spoil(request)
        self.spoilt += [request.path] if wish else []
        if wish == "429":
            return web.Response(status=429, headers={"Retry-After": "1"}, text="slow down")
        if wish == "drop":
            return await self._hang_up(request)
        # The Host header stays that of this proxy, so that links in answers lead through it again.
        async with self._session.request(
            request.method,
            f"{self.upstream}{request.raw_path}",
            headers=request.headers,
            data=body,
            allow_redirects=False,
        ) as answer:
            content = await answer.read()
        if wish == "lose":
            return await self._hang_up(request)
        headers = {
            k: v for k, v in answer.headers.items() if k not in ("Transfer-Encoding", "Content-Length")
        }
        if request.method == "HEAD":
            headers["Content-Length"] = answer.headers.get("Content-Length", "0")
            return web.Response(status=answer.status, headers=headers)
        return web.Response(status=answer.status, headers=headers, body=content)

    async def _hang_up(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()


def once(wanted: str, test: Callable[[web.Request], bool]) -> Spoil:
    """Spoil the first request that a test picks."""
    left = [wanted]

    def spoil(request: web.Request) -> str | None:
        return left.pop() if left and test(request) else None

    return spoil
