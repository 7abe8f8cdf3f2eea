"""Runs that are killed at any moment go on, ask nothing twice but what was in flight, and end with the same
rows.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from run_support import BASE, HubAddress, backforth, client, small_recipe, write_recipe

CONCURRENCY = 4
COMPARED = ("seed", "responses", "backtranslated", "curated", "rewritten", "distilled", "mix")


class CountingProxy:
    """Stands before a real endpoint and counts each generation request that reaches it."""

    def __init__(self, url: str) -> None:
        self.asked: Counter[bytes] = Counter()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._pass(None)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == "/v1/chat/completions":  # and not a count of tokens
                    proxy.asked[body] += 1
                self._pass(body)

            def _pass(self, body: bytes | None) -> None:
                request = Request(url + self.path, body, {"Content-Type": "application/json"})
                with urlopen(request, timeout=120) as answer:
                    content = answer.read()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # the client was killed
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def proxy(hub: HubAddress, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CountingProxy]:
    from hub_tools.endpoints.server import ServerOptions
    from hub_tools.endpoints.server.process import EndpointProcess

    log = tmp_path_factory.mktemp("endpoint") / "log"
    with EndpointProcess.start(ServerOptions(model=BASE, threads=1), hub.environment(), log) as process:
        proxy = CountingProxy(process.url)
        yield proxy
        proxy.close()


def start(hub: HubAddress, recipe: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "hub_tools", "run", str(recipe)],
        env=hub.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def kill_when(process: subprocess.Popen[bytes], ready: Any, timeout: float = 300) -> bool:
    """Kill a run as soon as `ready` holds; return whether it was still running."""
    end = time.monotonic() + timeout
    while time.monotonic() < end and process.poll() is None:
        if ready():
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.005)
    assert process.poll() is not None, "the run never got there"
    return False


def rows(hub: HubAddress, name: str) -> dict[str, Any]:
    """Return the rows of every dataset of a run, without the shas of the models that a run trains anew."""
    program = f"""
import datasets, json
found = {{}}
for stage in {COMPARED!r}:
    rows = datasets.load_dataset(f"demo/{name}-{{stage}}", revision="v1", split="train").to_list()
    for row in rows:
        for key in ("model", "model_sha"):
            (row.get("generation") or {{}}).pop(key, None)
    found[stage] = rows
print(json.dumps(found))
"""
    return client(hub, program)  # type: ignore[no-any-return]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_killed_at_random_moments_ends_with_the_rows_of_an_undisturbed_one(
    hub: HubAddress, tmp_path: Path
) -> None:
    for name in ("calm", "killed"):
        (tmp_path / name).mkdir()
    calm = write_recipe(tmp_path / "calm", small_recipe(tmp_path / "calm", hub, "calm"))
    done = backforth(hub, "run", str(calm))
    assert done.returncode == 0, done.stderr
    killed = write_recipe(tmp_path / "killed", small_recipe(tmp_path / "killed", hub, "killed"))
    moments = random.Random(20240811)
    kills = 0
    while kills < 5:
        process = start(hub, killed)
        deadline = time.monotonic() + moments.uniform(3, 16)
        if not kill_when(process, lambda end=deadline: time.monotonic() > end):
            break
        kills += 1
    done = backforth(hub, "run", str(killed))
    assert done.returncode == 0, done.stderr
    assert kills >= 2
    assert rows(hub, "killed") == rows(hub, "calm")


@pytest.mark.timeout(300)
def test_a_killed_run_asks_nothing_twice_but_what_was_in_flight(
    hub: HubAddress, proxy: CountingProxy, tmp_path: Path
) -> None:
    recipe = small_recipe(tmp_path, hub, "asked")
    recipe["endpoints"] = {"rewriter": {"model": BASE, "url": proxy.url, "concurrency": CONCURRENCY}}
    keep = ("seed", "responses", "backtranslate")
    recipe["stages"] = {name: recipe["stages"][name] for name in keep}
    recipe["stages"]["backtranslate"] |= {"asks": "rewriter"}
    path = write_recipe(tmp_path, recipe)
    kills = 0
    for answers in (3, 7):
        before = sum(proxy.asked.values())
        kills += kill_when(start(hub, path), lambda n=before + answers: sum(proxy.asked.values()) >= n)
    done = backforth(hub, "run", str(path))
    assert done.returncode == 0, done.stderr
    assert kills == 2
    assert sum(proxy.asked.values()) > len(proxy.asked) - 1
    assert sum(proxy.asked.values()) - len(proxy.asked) <= kills * CONCURRENCY
    assert max(proxy.asked.values()) <= 1 + kills


@pytest.mark.timeout(300)
def test_two_runs_of_one_recipe_do_not_work_on_one_node_at_once(hub: HubAddress, tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, hub, "twice") | {"endpoints": {}}
    recipe["stages"] = {
        "seed": recipe["stages"]["seed"],
        "train-backward": recipe["stages"]["train-backward"],
    }
    recipe["stages"]["train-backward"]["steps"] = 60
    path = write_recipe(tmp_path, recipe)
    first = start(hub, path)
    lock = tmp_path / "work" / "demo" / "twice" / "train-backward" / "lock"
    while not lock.exists() and first.poll() is None:
        time.sleep(0.01)
    time.sleep(0.2)
    second = backforth(hub, "run", str(path))
    first.kill()
    first.wait()
    assert second.returncode == 1
    assert "another run (process" in second.stderr
