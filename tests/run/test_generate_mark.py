"""The mark of a journal: a resumed run looks at no row that is settled, and leaves out none that is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer, serving
from generate_support import generator, rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub_tools.columns import pick_rows, read_rows
from hub_tools.records import Response
from hub_tools.run.generation import mark as marking
from hub_tools.run.generation.journal import Journal
from hub_tools.run.generation.mark import Mark
from hub_tools.run.publishing.parquet import ShardWriter


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marking, "EVERY", 3)


def write(journal: Journal) -> None:
    asyncio.run(journal.put(b"some answer", {"text": "x"}))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(20)), failing=st.sets(st.integers(0, 19)), stop=st.integers(0, 20))
def test_only_settled_rows_are_skipped(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], failing: set[int], stop: int
) -> None:
    path = tmp_path_factory.mktemp("mark") / "j"
    with closing(Journal(path)) as journal:
        mark = Mark(journal, "f")
        for position in order[:stop]:
            mark.settle(position, final=position not in failing)
        write(journal)
    with closing(Journal(path)) as journal:
        found = Mark(journal, "f")
        left = set(found.again) | set(range(found.start, 20))
    settled = set(order[:stop]) - failing
    assert set(range(20)) - left <= settled
    assert list(islice(found.positions(), len(found.again))) == sorted(found.again)


def test_a_mark_of_other_settings_does_not_count(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "j")) as journal:
        mark = Mark(journal, "one")
        for position in range(10):
            mark.settle(position, final=True)
        write(journal)
    with closing(Journal(tmp_path / "j")) as journal:
        assert Mark(journal, "one").start >= 9
        assert Mark(journal, "other").start == 0


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    writer = ShardWriter(tmp_path, "rows", Response)
    for row in rows(2500):
        writer.add(row)
    return list(writer.close().values())


@pytest.mark.parametrize("start", [0, 1, 255, 256, 999, 1000, 1001, 2499, 2500])
def test_rows_are_read_from_any_position_on(shards: list[Path], start: int) -> None:
    assert list(read_rows(Response, shards, "rows", start)) == rows(2500)[start:]


def test_single_rows_are_picked(shards: list[Path]) -> None:
    every = rows(2500)
    assert list(pick_rows(Response, shards, "rows", [0, 999, 1000, 2499])) == [
        every[at] for at in (0, 999, 1000, 2499)
    ]
    assert list(pick_rows(Response, shards, "rows", [])) == []


def ask(
    server: FaultServer, path: Path, count: int, tick: Callable[[int], None]
) -> tuple[int, int, list[str]]:
    """Ask about what a mark leaves of so many rows; return its start, how many again, and all outcomes."""
    work = generator(server, path, tries=2)
    with closing(work.journal):
        mark = Mark(work.journal, "f")
        every = rows(count)
        left = [*(every[at] for at in mark.again), *every[mark.start :]]
        asyncio.run(work.ask_all(left, lambda done=0, **_: tick(done), mark))
        return mark.start, len(mark.again), [repr(outcome) for outcome in work.outcomes(every)]


def failing(wanted: str) -> Callable[[int, dict[str, Any]], int | None]:
    return lambda number, body: 500 if body["messages"][0]["content"] == wanted else None


def test_a_resumed_run_asks_for_the_rest_and_again_for_what_failed(tmp_path: Path) -> None:
    with serving(failing("t3")) as server:
        ask(server, tmp_path / "j", 40, lambda done: None)
        assert server.requests["t0"] == 1
    looked: list[int] = []
    with serving() as server:
        start, again, outcomes = ask(server, tmp_path / "j", 50, looked.append)
        assert 3 < start <= 40
        assert again == 1
        assert server.requests["t3"] == 1
        assert server.requests["t0"] == 0
        assert set(server.requests) == {"t3", *(f"t{n}" for n in range(40, 50))}
    assert sum(looked) == 50 - start + again
    with serving() as server:
        *_, plain = ask(server, tmp_path / "other", 50, lambda done: None)
    assert outcomes == plain
