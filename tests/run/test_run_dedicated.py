"""Runs on dedicated endpoints: started when needed, and never left running, whatever happens to the run."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from fake_inference_endpoints import FakeService, inference_endpoints
from fault_server import serving
from huggingface_hub import constants
from run_support import BASE, ROOT, HubAddress, client, documents, write_lines, write_recipe

from hub_tools.endpoints import dedicated
from hub_tools.endpoints.dedicated import Dedicated
from hub_tools.hub.repository import Hub, Ref
from hub_tools.recipe import load
from hub_tools.run.generation.dedicated import Hired

PROGRAM = ROOT / "tests" / "run" / "dedicated_program.py"


class Workplace:
    """A recipe with a dedicated endpoint, the service that it is hired from, and the command line."""

    def __init__(self, folder: Path, hub: HubAddress, service: FakeService) -> None:
        self.folder = folder
        self.service = service
        self.hub = hub
        write_lines(folder / "corpus.jsonl", documents(6))
        self.name = re.sub(r"[^a-z0-9]", "", folder.name.lower())
        self.recipe = self.write(at_end="pause")

    def write(self, **changes: Any) -> Path:
        return write_recipe(
            self.folder,
            {
                "name": self.name,
                "namespace": "demo",
                "work": str(self.folder / "work"),
                "hub": {"endpoint": self.hub.endpoint},
                "endpoints": {
                    "backward": {"model": BASE, "dedicated": {"instance": "nvidia-l4-x1", **changes}}
                },
                "stages": {
                    "responses": {"reads": {"base": BASE}, "source": "corpus.jsonl", "license": "cc0-1.0"},
                    "backtranslate": {"max_new_tokens": 32},
                },
            },
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        environment = self.hub.environment(
            FAKE_SERVICE=self.service.address, XDG_STATE_HOME=str(self.folder / "state")
        )
        return subprocess.Popen(
            [sys.executable, str(PROGRAM), *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        process = self.start(*(arguments or ("run", str(self.recipe))))
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    @property
    def states(self) -> list[str]:
        return [self.service.state(name) for name in self.service.endpoints]


@pytest.fixture
def workplace(tmp_path: Path, hub: HubAddress) -> Iterator[Callable[[str], Any]]:
    """Make a workplace whose endpoints answer at an address."""
    with ExitStack() as stack:

        def make(url: str) -> Workplace:
            return Workplace(tmp_path, hub, stack.enter_context(inference_endpoints(url, hub.token)))

        yield make


@contextmanager
def hanging() -> Iterator[Any]:
    """A server that never answers a question, so that a run is caught in the middle."""
    with serving(lambda *_: "hang") as server:
        server.about = {"model_id": "/repository", "router": "t"}
        yield server


def caught(workplace: Workplace, server: Any) -> subprocess.Popen[str]:
    """Start a run and wait until it asks its endpoint."""
    process = workplace.start("run", str(workplace.recipe))
    deadline = time.monotonic() + 60
    while not server.in_flight:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert workplace.states == ["running"]
    return process


@pytest.mark.timeout(300)
def test_a_run_starts_its_endpoint_publishes_and_pauses_it(
    workplace: Callable[[str], Workplace], hub: HubAddress, tmp_path: Path
) -> None:
    from hub_tools.endpoints.server import ServerOptions
    from hub_tools.endpoints.server.process import EndpointProcess

    options = ServerOptions(model=BASE, model_id="/repository", threads=1)
    with EndpointProcess.start(options, hub.environment(), tmp_path / "log") as process:
        place = workplace(process.url)
        code, _, said = place.run()
        assert code == 0, said
        assert place.states == ["paused"]
        (name,) = place.service.endpoints
        made = place.service.endpoints[name]
        assert len(made["model"]["revision"]) == 40
        assert "$0.80 an hour from now on" in said
        assert re.search(rf"{name} is paused after \d+\.\d minutes: about \$0\.0\d", said)
        rows = client(
            hub,
            "import datasets, json; print(json.dumps(datasets.load_dataset("
            f"'demo/{place.name}-backtranslated', split='train')[:]['generation']))",
        )
        assert {row["model"] for row in rows} == {BASE}
        assert {row["model_sha"] for row in rows} == {made["model"]["revision"]}

        place.recipe = place.write(at_end="down")
        again = place.run("run", str(place.recipe), "--set", "stages.backtranslate.max_new_tokens=31")
        assert again[0] == 0, again[2]
        assert place.service.calls["POST resume"] == 1
        assert place.states == ["paused"], "it was there before this run, which has no business to delete it"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_told_to_end_ends_its_endpoint_first(
    workplace: Callable[[str], Workplace], number: signal.Signals
) -> None:
    with hanging() as server:
        place = workplace(server.url)
        process = caught(place, server)
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    assert process.returncode not in (0, None)
    assert place.states == ["paused"]
    assert "is paused after" in said
    assert "Traceback" not in said


def test_a_run_that_fails_takes_its_endpoint_down(workplace: Callable[[str], Workplace]) -> None:
    with serving(lambda *_: 422) as server:
        server.about = {"model_id": "/repository", "router": "t"}
        place = workplace(server.url)
        place.recipe = place.write(at_end="down")
        code, _, said = place.run()
    assert code == 1
    assert "kept no row at all" in said
    assert not place.service.endpoints
    assert place.service.calls["POST endpoint"] == 1


def test_what_a_killed_run_left_is_found_and_minded_by_the_next_run(
    workplace: Callable[[str], Workplace],
) -> None:
    with hanging() as server:
        place = workplace(server.url)
        process = caught(place, server)
        code, seen, _ = place.run("endpoint", "status", "--namespace", "demo")
        assert code == 0
        assert f"process {process.pid}" in " ".join(seen.split())
        code, _, other = place.run()
        assert code == 1
        assert "wait for it, or end it" in other
        process.kill()
        process.communicate()
        assert place.states == ["running"]
        code, seen, _ = place.run("endpoint", "status", "--namespace", "demo")
        assert f"was left running by a run of demo/{place.name}" in seen
        next_run = caught(place, server)
        next_run.send_signal(signal.SIGTERM)
        next_run.communicate(timeout=30)
    assert place.states == ["paused"]
    assert place.service.calls["POST pause"] == 1
    _, seen, _ = place.run("endpoint", "status", "--namespace", "demo")
    assert "was left" not in seen


def test_an_endpoint_that_cannot_be_paused_is_shouted_about_and_stays_on_record(
    workplace: Callable[[str], Workplace],
) -> None:
    with hanging() as server:
        place = workplace(server.url)
        process = caught(place, server)
        place.service.faults = [500] * 50
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
        assert "could not be ended" in said
        assert "backforth endpoint pause" in said
        place.service.faults = []
        (name,) = place.service.endpoints
        code, _, said = place.run("endpoint", "pause", name, "--namespace", "demo")
    assert (code, place.states) == (0, ["paused"])
    assert "it cost about $" in said


def test_an_endpoint_that_does_not_come_up_is_ended_when_the_run_is(
    workplace: Callable[[str], Workplace],
) -> None:
    place = workplace("http://127.0.0.1:9")
    place.service.becomes = "failed"
    code, _, said = place.run()
    assert code == 1
    assert "is failed" in said
    assert place.states == ["paused"]
    place.service.becomes = "initializing"
    process = place.start("run", str(place.recipe))
    assert process.stderr is not None
    while "initializing" not in (line := process.stderr.readline()):
        assert line, "the run ended before its endpoint was up"
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert place.states == ["paused"]
    assert "is paused after" in said


def test_an_endpoint_that_fell_asleep_between_two_stages_is_woken(
    workplace: Callable[[str], Workplace], hub: HubAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(dedicated, "POLL", 0.02)
    with serving() as server:
        place = workplace(server.url)
        monkeypatch.setattr(constants, "INFERENCE_ENDPOINTS_ENDPOINT", place.service.address)
        hired = Hired(load(place.recipe), Hub(hub.endpoint, hub.token), lambda _: None)
        model = Ref("model", BASE, "a" * 40)
        assert hired.url("backward", model) == server.url
        (name,) = place.service.endpoints
        Dedicated(hub.token, "demo").api.scale_to_zero_inference_endpoint(name, namespace="demo")
        assert place.states == ["scaledToZero"]
        assert hired.url("backward", model) == server.url
        assert place.service.calls["POST resume"] == 1
        hired.end(failed=False)
    assert place.states == ["paused"]


def test_a_person_brings_an_endpoint_up_and_a_run_leaves_it_up(workplace: Callable[[str], Workplace]) -> None:
    with serving() as server:
        server.about = {"model_id": "/repository", "router": "t"}
        place = workplace(server.url)
        code, out, said = place.run(
            "endpoint", "up", BASE, "--instance", "nvidia-l4-x1", "--namespace", "demo"
        )
        assert (code, out.strip()) == (0, server.url), said
        (name,) = place.service.endpoints
        assert f"{name} costs up to $0.80 an hour until `backforth endpoint pause {name}`" in said
        code, _, said = place.run()
        assert code == 0, said
        assert "this run leaves it as it is" in said
        assert place.states == ["running"]
        code, _, said = place.run("endpoint", "down", name, "--namespace", "demo")
        assert code == 0
        assert not place.service.endpoints
        code, _, said = place.run("endpoint", "resume", name, "--namespace", "demo")
        assert (code, said) == (
            1,
            f"error: demo has no endpoint {name}; `backforth endpoint status` lists them\n",
        )


def test_a_pilot_pays_for_its_endpoint_only_while_it_asks(workplace: Callable[[str], Workplace]) -> None:
    with serving() as server:
        server.about = {"model_id": "/repository", "router": "t"}
        place = workplace(server.url)
        assert place.run("run", str(place.recipe), "--only", "responses")[0] == 0
        assert not place.service.endpoints
        code, out, said = place.run("plan", str(place.recipe), "--pilot", "3")
        assert code == 0, said
        assert server.requests.total() == 3
        assert place.states == ["paused"]
    line = next(
        line for line in out.splitlines() if line.strip().startswith("backtranslate") and "/" not in line
    )
    assert not line.rstrip().endswith("-"), "the service's own price was used"
    assert re.search(r"backtranslate +6 +6 +18 +12 ", line)


def test_what_cannot_be_hired_is_said_before_anything_runs(workplace: Callable[[str], Workplace]) -> None:
    place = workplace("http://127.0.0.1:9")
    place.recipe = place.write(instance="nvidia-l5-x1")
    code, _, said = place.run()
    assert code == 1
    assert said.strip().startswith("error: there is no instance nvidia-l5-x1")
    place.recipe = place.write(instance="nvidia-new-x1")
    _, _, said = place.run()
    assert "set endpoints.backward.price.per_hour" in said
    code, _, said = place.run("run", str(place.recipe), "--set", "endpoints.backward.url=http://127.0.0.1:9")
    assert code == 2
    assert "leave one of them out" in said
    assert not place.service.endpoints


def test_the_token_of_another_hub_is_never_sent_to_the_service(
    workplace: Callable[[str], Workplace], tmp_path: Path, hub: HubAddress
) -> None:
    place = workplace("http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, "-m", "hub_tools", "run", str(place.recipe)],
        env={**hub.environment(), "XDG_STATE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "serves models of https://huggingface.co" in done.stderr
    status = subprocess.run(
        [sys.executable, "-m", "hub_tools", "endpoint", "status"],
        env={**os.environ, **hub.environment()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert status.returncode == 1
    assert "HF_ENDPOINT is" in status.stderr
