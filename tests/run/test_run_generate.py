"""Rows to answers to rows: retries, rejects, order, the journal, and what is asked twice."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from fault_server import serving
from generate_support import generator, outcomes, rows

from hub_tools.endpoints import pool, replica
from hub_tools.endpoints.client import EndpointClient
from hub_tools.errors import BackforthError, EndpointDown
from hub_tools.records import Rejected
from hub_tools.run.generation.generate import request_seed
from hub_tools.run.generation.journal import Journal


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "LONGEST_PAUSE", 0.02)
    monkeypatch.setattr(replica, "LONGEST_REST", 0.05)


def test_rows_come_back_in_order_whatever_order_the_answers_came_in(tmp_path: Path) -> None:
    with serving() as server:
        found = outcomes(generator(server, tmp_path / "j"), 60)
    assert [row.id for row in found] == [row.id for row in rows(60)]
    assert server.most <= 8


def test_a_reject_is_asked_again_with_another_seed_and_then_recorded(tmp_path: Path) -> None:
    with serving() as server:
        work = generator(server, tmp_path / "j", attempts=3)
        found = outcomes(work, 10)
    assert server.requests["t7"] == 3
    assert isinstance(found[7], Rejected)
    assert found[7].reason == "seven"
    assert work.spent.requests == 12
    assert len({request_seed(0, "stage", rows(8)[7].id, attempt) for attempt in range(3)}) == 3


def test_errors_that_pass_change_no_row(tmp_path: Path) -> None:
    faults = random.Random(1)

    def fault(number: int, body: dict[str, Any]) -> int | str | None:
        return faults.choice([429, 503, 500, 424, "drop", "torn", None, None, None, None, None, None])

    with serving() as calm, serving(fault) as wild:
        expected = outcomes(generator(calm, tmp_path / "a"), 80)
        assert outcomes(generator(wild, tmp_path / "b"), 80) == expected
    assert wild.requests.total() > 100


def test_a_refused_row_is_rejected_with_the_servers_reason_and_never_asked_again(tmp_path: Path) -> None:
    def fault(number: int, body: dict[str, Any]) -> int | None:
        return 422 if body["messages"][0]["content"] == "t3" else None

    with serving(fault) as server:
        found = outcomes(generator(server, tmp_path / "j", attempts=3), 5)
        assert outcomes(generator(server, tmp_path / "j", attempts=3), 5) == found
    assert isinstance(found[3], Rejected)
    assert (found[3].reason, found[3].detail) == ("refused", "422: no")
    assert server.requests["t3"] == 1


def test_a_dead_endpoint_stops_the_run_and_keeps_what_was_answered(tmp_path: Path) -> None:
    def fault(number: int, body: dict[str, Any]) -> int | None:
        return 503 if number > 20 else None

    with serving(fault) as dying, pytest.raises(EndpointDown, match=r"no answer for .* run again to go on"):
        outcomes(generator(dying, tmp_path / "j"), 60)
    assert 0 < dying.answered < 60
    with serving() as server:
        assert len(outcomes(generator(server, tmp_path / "j"), 60)) == 60
        assert server.requests.total() == 60 - dying.answered


def test_nothing_is_asked_twice_and_another_model_is_asked_anew(tmp_path: Path) -> None:
    with serving() as server:
        first = outcomes(generator(server, tmp_path / "j"), 20)
        assert outcomes(generator(server, tmp_path / "j"), 20) == first
        assert server.requests.total() == 20
        outcomes(generator(server, tmp_path / "j", sha="another"), 20)
        assert server.requests.total() == 40


def test_a_journal_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "j").write_text("this is no database " * 100)
    with pytest.raises(BackforthError, match=r"the journal .* cannot be used"):
        Journal(tmp_path / "j")


def test_an_answer_is_on_disk_when_put_returns(tmp_path: Path) -> None:
    async def put() -> list[tuple[Any, ...]]:
        journal = Journal(tmp_path / "j")
        await asyncio.gather(*(journal.put(b"%d" % n, {"n": n}) for n in range(50)))
        reader = sqlite3.connect(f"file:{tmp_path / 'j'}?mode=ro", uri=True)
        return reader.execute("SELECT key FROM answers").fetchall()

    assert len(asyncio.run(put())) == 50


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://127.0.0.1:9/v1"])
def test_a_server_that_is_not_there_is_named(url: str) -> None:
    async def ask() -> None:
        async with EndpointClient(url) as client:
            await client.info()

    with pytest.raises(EndpointDown, match=r"http://127\.0\.0\.1:9 does not answer as an endpoint"):
        asyncio.run(ask())
