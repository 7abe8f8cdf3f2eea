from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from server_support import BASE, ENVIRONMENT, Caller, Tiny

from hub_tools.endpoints.server import EndpointServerError, ServerOptions, events
from hub_tools.endpoints.server.connections import FullHouse
from hub_tools.endpoints.server.process import EndpointProcess

LONG = {"grammar": {"type": "regex", "value": "[a-z]{390}"}}  # the tiny model ends when it likes otherwise


@pytest.fixture(scope="module")
def small(tiny_model: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    """A server with a token, one slot and room for two requests."""
    options = ServerOptions(
        str(tiny_model.base),
        max_batch_size=1,
        max_concurrent_requests=2,
        max_total_tokens=500,
        threads=1,
        token="open sesame",
        cors_allow_origins=["https://page.example"],
    )
    log = tmp_path_factory.mktemp("small") / "server.log"
    with EndpointProcess.start(options, ENVIRONMENT, log) as process:
        yield Caller(process.url, "open sesame")


def test_token_is_demanded_everywhere_but_for_health(small: Caller) -> None:
    for token in (None, "wrong"):
        stranger = Caller(small.url, token)
        assert stranger.get("/info").status == 401
        assert stranger.generate("x").body["error_type"] == "unauthorized"
        assert stranger.get("/health").status == 200
    assert small.get("/info").status == 200


@pytest.mark.parametrize(("origin", "allowed"), [("https://page.example", True), ("https://other", False)])
def test_only_named_pages_may_ask_from_a_browser(small: Caller, origin: str, allowed: bool) -> None:
    ask = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    ask["Access-Control-Request-Headers"] = "content-type, authorization"
    for method, headers in (("OPTIONS", ask), ("GET", {"Origin": origin})):
        connection = HTTPConnection(small.url.removeprefix("http://"), timeout=20)
        connection.request(method, "/health", headers=headers)
        reply = connection.getresponse()
        assert (reply.getheader("access-control-allow-origin") == origin) is allowed
        assert reply.status == (200 if allowed or method == "GET" else 400)
        connection.close()


def test_single_slot_makes_seeds_exact(small: Caller) -> None:
    assert small.get("/info").body["seed_is_batch_invariant"] is True


def test_requests_past_the_limit_get_429_at_once(small: Caller) -> None:
    with ThreadPoolExecutor(6) as pool:
        started = monotonic()
        replies = list(pool.map(lambda _: small.generate("hello", max_new_tokens=400, **LONG), range(6)))
    assert sorted(reply.status for reply in replies) == [200, 200, 429, 429, 429, 429]
    refused = next(reply.body for reply in replies if reply.status == 429)
    assert refused == {"error": "Model is overloaded", "error_type": "overloaded"}
    assert monotonic() - started < 30
    assert small.generate("hello", max_new_tokens=1).status == 200


def _ask(small: Caller, path: str, body: dict[str, object]) -> socket.socket:
    """Send a request, and leave its answer unread."""
    host, port = small.url.removeprefix("http://").split(":")
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {small.token}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    connection = socket.create_connection((host, int(port)))
    connection.sendall(head.encode() + content)
    return connection


PARAMETERS = {"max_new_tokens": 400, **LONG}
CHAT = {"messages": [{"role": "user", "content": "x"}], "response_format": LONG["grammar"], "max_tokens": 400}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/generate", {"inputs": "hello", "parameters": PARAMETERS}),
        ("/generate_stream", {"inputs": "hello", "parameters": PARAMETERS}),
        ("/v1/chat/completions", {**CHAT, "stream": True}),
        ("/v1/completions", {"prompt": ["hello", "world"], "max_tokens": 400, "stream": True}),
    ],
)
@pytest.mark.parametrize("heard", [False, True])
def test_client_that_goes_away_frees_its_slot(
    small: Caller, path: str, body: dict[str, object], heard: bool
) -> None:
    for _ in range(6):  # more than the limit: they would be refused if those before them still counted
        with _ask(small, path, body) as connection:
            if heard and path != "/generate":
                assert b"data: " in _read_until(connection, b"data: ")
            sleep(0.05)
        sleep(0.05)
    assert small.generate("hello", max_new_tokens=1).status == 200


def _read_until(connection: socket.socket, mark: bytes) -> bytes:
    heard = b""
    while mark not in heard and (piece := connection.recv(4096)):
        heard += piece
    return heard


def test_reader_that_does_not_read_keeps_nobody_out(small: Caller) -> None:
    body: dict[str, object] = {"inputs": "hello", "parameters": {**PARAMETERS, "top_n_tokens": 5}}
    unread = []
    for _ in range(4):  # twice the limit, one after the other
        unread.append(_ask(small, "/generate_stream", body))
        deadline = monotonic() + 60
        while (status := small.generate("hello", max_new_tokens=1).status) == 429 and monotonic() < deadline:
            sleep(0.05)  # the place is free once the answer is made, which takes a moment
        assert status == 200
    for connection in unread:
        connection.close()


def test_queued_stream_hears_that_it_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    async def slow() -> AsyncGenerator[str]:
        await asyncio.sleep(0.25)
        yield "here"

    async def receive() -> dict[str, str]:
        await asyncio.sleep(60)
        raise AssertionError

    sent: list[bytes] = []

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    monkeypatch.setattr(events, "_KEEP_ALIVE_SECONDS", 0.1)
    asyncio.run(events.EventStream(slow(), {})({}, receive, send))
    assert sent == [b"", b":\n\n", b":\n\n", b"data: here\n\n", b""]


def test_connections_past_the_systems_limit_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def many() -> None:
        loop, handler = asyncio.get_running_loop(), FullHouse()
        for _ in range(1000):
            handler(loop, {"message": "accept failed", "exception": OSError(errno.EMFILE, "too many files")})
        handler(loop, {"message": "another trouble", "exception": ValueError("x")})

    asyncio.run(many())
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "no further connection is accepted until one closes",
        "another trouble",
    ]


def _start(log: Path, **settings: object) -> EndpointProcess:
    return EndpointProcess.start(ServerOptions(threads=1, **settings), ENVIRONMENT, log)  # type: ignore[arg-type]


def test_adapter_of_another_base_is_refused(tiny_model: Tiny, tmp_path: Path) -> None:
    adapters = {"alien": str(tiny_model.alien)}
    with pytest.raises(EndpointServerError, match="adapter alien was trained on somebody/else, but"):
        _start(tmp_path / "log", model=str(tiny_model.base), model_id=BASE, adapters=adapters)


def test_busy_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EndpointServerError, match=f"port {port} on 127.0.0.1 cannot be used"):
            _start(tmp_path / "log", model="whatever", port=port)


def test_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EndpointServerError, match="/no/such/folder is no folder"):
        _start(tmp_path / "log", model="/no/such/folder")
    (tmp_path / "empty").mkdir()
    with pytest.raises(EndpointServerError, match="no safetensors weights"):
        _start(tmp_path / "log", model=str(tmp_path / "empty"))


def test_open_host_needs_a_token(tmp_path: Path) -> None:
    with pytest.raises(EndpointServerError, match="set a token"):
        _start(tmp_path / "log", model="whatever", host="0.0.0.0")


PARENT = """
import os, sys, time
from pathlib import Path
from hub_tools.endpoints.server import ServerOptions
from hub_tools.endpoints.server import events
from hub_tools.endpoints.server.process import EndpointProcess
options = ServerOptions(sys.argv[1], threads=1)
process = EndpointProcess.start(options, os.environ, Path(sys.argv[2]))
print(process._child.pid, process.url, flush=True)
time.sleep(600)
"""


def test_child_ends_when_its_parent_is_killed(tiny_model: Tiny, tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tiny_model.base), str(tmp_path / "log")],
        stdout=subprocess.PIPE,
        text=True,
        env={**ENVIRONMENT, "PYTHONPATH": root},
    )
    assert parent.stdout is not None
    pid, url = parent.stdout.readline().split()
    assert Caller(url).get("/health").status == 200
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = monotonic() + 10
    while _runs(int(pid)) and monotonic() < deadline:
        sleep(0.1)
    assert not _runs(int(pid))


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    return state != "Z"
