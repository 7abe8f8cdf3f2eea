"""Many replicas asked as one: work goes where there is room, moves on from what fails, and comes back."""

from __future__ import annotations

import random
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from fault_server import serving
from generate_support import generator, outcomes

from hub_tools.endpoints import pool, replica
from hub_tools.endpoints.failures import WrongModel
from hub_tools.endpoints.wire import Info
from hub_tools.errors import EndpointDown
from hub_tools.records import Rejected
from hub_tools.stages.registry import Answer, Reject


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "LONGEST_PAUSE", 0.02)
    monkeypatch.setattr(replica, "LONGEST_REST", 0.05)


def test_a_replica_with_more_slots_gets_more_of_the_work(tmp_path: Path) -> None:
    with serving(slots=2, seconds=0.02) as small, serving(slots=8, seconds=0.02) as large:
        small.about["max_concurrent_requests"] = large.about["max_concurrent_requests"] = 64
        assert len(outcomes(generator([small, large], tmp_path / "j", concurrency=None), 800)) == 800
    assert large.answered > 1.8 * small.answered


def test_rows_of_a_dead_replica_move_on_and_it_is_taken_back(tmp_path: Path) -> None:
    dead = threading.Event()

    def fault(number: int, body: dict[str, Any]) -> int | None:
        return 503 if dead.is_set() else None

    def revive(number: int, body: dict[str, Any]) -> None:
        (dead.set if 40 <= number < 200 else dead.clear)()

    with serving(fault, seconds=0.005) as dying, serving(revive, seconds=0.005) as steady:
        dying.about["max_concurrent_requests"] = steady.about["max_concurrent_requests"] = 16
        found = outcomes(generator([dying, steady], tmp_path / "j", patience=30), 900)
    assert len(found) == 900
    assert dying.answered + steady.answered == 900
    assert dying.answered > 200


def test_a_replica_that_is_not_there_is_done_without(tmp_path: Path) -> None:
    with serving() as gone, serving() as server:
        gone.url = "http://127.0.0.1:9"
        assert len(outcomes(generator([gone, server], tmp_path / "j"), 30)) == 30
    assert server.requests.total() == 30


def test_one_replica_with_another_model_is_refused(tmp_path: Path) -> None:
    def check(info: Info) -> None:
        if info.model_sha != "s":
            raise WrongModel(f"serves {info.model_sha}")

    with serving() as right, serving() as wrong:
        wrong.about["model_sha"] = "t"
        with pytest.raises(WrongModel, match=f"{wrong.url} serves t"):
            outcomes(generator([right, wrong], tmp_path / "j", check=check), 5)
    assert right.requests.total() == 0


def test_a_replica_that_hangs_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "LATE", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent, serving() as gone, serving() as server:
        gone.url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        assert len(outcomes(generator([gone, server], tmp_path / "j", timeout=600), 30)) == 30
    assert time.monotonic() - began < 25


@pytest.mark.parametrize(
    ("now", "sign"),
    [({"model_id": "demo/other"}, None), ({"model_id": "demo/other"}, "drop"), ({"model_sha": "t"}, "drop")],
    ids=["the answers name it", "connections broke", "another revision"],
)
def test_no_answer_counts_of_a_replica_that_was_restarted_with_another_model(
    tmp_path: Path, now: dict[str, str], sign: str | None
) -> None:
    def check(info: Info) -> None:
        if (info.model_id, info.model_sha) != ("demo/m", "s"):
            raise WrongModel(f"serves {info.model_id} at {info.model_sha}")

    def fault(number: int, body: dict[str, Any]) -> str | None:
        if number < 50 or changed.about.items() >= now.items():
            return None
        changed.about |= now
        return sign

    def parse(answer: Answer, row: Any) -> Any:
        return Reject("other") if answer.text.endswith("demo/other") else row

    with serving(fault) as changed, serving() as steady:
        work = generator([changed, steady], tmp_path / "j", check=check, parse=parse)
        assert not any(isinstance(row, Rejected) for row in outcomes(work, 300))
        assert steady.answered >= 300 - 60
        work = generator(changed, tmp_path / "j", check=check)
        with pytest.raises(WrongModel, match=f"{changed.url} serves"):
            outcomes(work, 310)


def test_the_servers_own_number_is_never_passed(tmp_path: Path) -> None:
    with serving(seconds=0.01) as server:
        server.about["max_concurrent_requests"] = 5
        outcomes(generator(server, tmp_path / "j", concurrency=None), 100)
    assert server.most == 5


def test_a_queue_at_the_server_is_seen_and_kept_short(tmp_path: Path) -> None:
    with serving(slots=8, seconds=0.01) as server:
        server.about["max_concurrent_requests"] = 128
        at_end: list[int] = []
        server.fault = lambda number, body: at_end.append(server.in_flight) if number > 1200 else None
        outcomes(generator(server, tmp_path / "j", concurrency=None), 1500)
    assert server.most > 100
    assert sum(at_end) / len(at_end) < 30


def test_random_429s_cost_no_places_and_real_ones_do(tmp_path: Path) -> None:
    chance = random.Random(3)
    with serving(lambda *_: 429 if chance.random() < 0.02 else None, seconds=0.02) as server:
        server.about["max_concurrent_requests"] = 32
        outcomes(generator(server, tmp_path / "a", concurrency=None), 600)
        assert server.most >= 31
    with serving(seconds=0.02) as server:
        server.about["max_concurrent_requests"] = 64
        server.fault = lambda number, body: 429 if server.in_flight > 10 else None
        outcomes(generator(server, tmp_path / "b", concurrency=None), 400)
        assert server.requests.total() < 1.6 * 400


def test_retry_after_is_kept(tmp_path: Path) -> None:
    times: list[float] = []

    def fault(number: int, body: dict[str, Any]) -> int | None:
        times.append(time.monotonic())
        return 429 if len(times) == 1 else None

    with serving(fault) as server:
        server.retry_after = "1"
        outcomes(generator(server, tmp_path / "j"), 1)
    assert 1.0 <= times[1] - times[0] < 2.0


def test_when_all_are_dead_the_run_stops_and_says_of_each_why(tmp_path: Path) -> None:
    with (
        serving(lambda *_: 503) as one,
        serving(lambda *_: 401) as other,
        pytest.raises(EndpointDown) as stopped,
    ):
        outcomes(generator([one, other], tmp_path / "j", patience=0.1), 50)
    assert f"{one.url}: 503: no" in str(stopped.value)
    assert "check its URL and token" in str(stopped.value)
    assert "\n" not in str(stopped.value)
