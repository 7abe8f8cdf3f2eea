"""Runs whose rows are asked in tasks publish the same bytes as one that is not, whatever gets killed."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from executor_support import (
    TOKEN,
    asking_recipe,
    finish,
    holding,
    kill,
    programs,
    published,
    start,
    wait_until,
)
from fault_server import serving
from run_support import HubAddress

ROWS, CONCURRENCY = 60, 8


@pytest.fixture(scope="module")
def calm(hub: HubAddress, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a run without an executor publishes."""
    with serving() as server:
        finish(start(hub, asking_recipe(tmp_path_factory.mktemp("calm"), hub, "local-calm", server, ROWS)))
        assert server.requests.total() == ROWS
    return published(hub, "local-calm")


def test_tasks_publish_the_bytes_of_a_run_without_them(
    hub: HubAddress, calm: dict[str, str], tmp_path: Path
) -> None:
    with serving(seconds=0.05) as server:
        recipe = asking_recipe(tmp_path, hub, "tasks", server, ROWS)
        said = finish(start(hub, recipe, "--executor", "local", "--tasks", "7", "--workers", "2"))
        assert server.requests.total() == ROWS
        assert server.most <= CONCURRENCY
    assert published(hub, "tasks") == calm
    assert "Traceback" not in said
    journals = tmp_path / "work" / "demo" / "tasks" / "backtranslate" / "tasks" / "journals"
    assert len(list(journals.glob("*.sqlite"))) == 7
    assert [path.name for path in journals.parent.iterdir()] == ["journals"]
    assert holding(tmp_path, TOKEN) == []


def test_what_still_applies_after_a_changed_setting_is_not_asked_again(
    hub: HubAddress, tmp_path: Path
) -> None:
    with serving() as server:
        recipe = asking_recipe(tmp_path, hub, "changed", server, 12)
        options = ("--executor", "local", "--tasks", "2")
        finish(start(hub, recipe, *options))
        said = finish(start(hub, recipe, *options, "--set", "stages.backtranslate.attempts=3"))
        assert "demo/changed-backtranslated@v2" in said
        assert server.requests.total() == 12


def test_a_killed_task_is_started_again_alone(hub: HubAddress, calm: dict[str, str], tmp_path: Path) -> None:
    with serving(seconds=0.3) as server:
        recipe = asking_recipe(tmp_path, hub, "lost-task", server, ROWS)
        run = start(hub, recipe, "--executor", "local", "--tasks", "2", "--workers", "2")
        first, other = wait_until(lambda: server.answered > 16 and sorted(programs(tmp_path)))
        kill(first)
        wait_until(lambda: len(found := programs(tmp_path)) == 2 and first not in found)
        assert other in programs(tmp_path)
        finish(run)
        assert ROWS < server.requests.total() <= ROWS + CONCURRENCY
    assert published(hub, "lost-task") == calm


def test_a_killed_run_goes_on_with_the_tasks_that_it_began_with(
    hub: HubAddress, calm: dict[str, str], tmp_path: Path
) -> None:
    with serving(seconds=0.2) as server:
        recipe = asking_recipe(tmp_path, hub, "lost-run", server, ROWS)
        run = start(hub, recipe, "--executor", "local", "--tasks", "6", "--workers", "2")
        wait_until(lambda: server.answered > 25)
        kill(run.pid)
        run.wait()
        wait_until(lambda: not programs(tmp_path), 10)
        assert holding(tmp_path, TOKEN) == []
        finish(start(hub, recipe, "--executor", "local", "--tasks", "3", "--workers", "2"))
        assert server.requests.total() <= ROWS + CONCURRENCY
    assert published(hub, "lost-run") == calm
    journals = (tmp_path / "work").rglob("*-of-*.sqlite")
    assert {path.stem.partition("-of-")[2] for path in journals} == {"00006"}


def test_an_interrupted_run_takes_its_tasks_along(hub: HubAddress, tmp_path: Path) -> None:
    with serving(seconds=0.3) as server:
        recipe = asking_recipe(tmp_path, hub, "interrupted", server, ROWS)
        run = start(hub, recipe, "--executor", "local", "--tasks", "2", "--workers", "2")
        wait_until(lambda: server.answered > 5)
        run.send_signal(signal.SIGINT)
        said = finish(run, code=130)
        assert server.answered < ROWS
        wait_until(lambda: not programs(tmp_path), 10)
    assert "Traceback" not in said


def test_a_dead_endpoint_ends_the_run_with_one_line_and_loses_no_answer(
    hub: HubAddress, calm: dict[str, str], tmp_path: Path
) -> None:
    limit = 20

    def fault(number: int, body: dict[str, Any]) -> int | None:
        return 503 if number > limit else None

    with serving(fault) as server:
        recipe = asking_recipe(tmp_path, hub, "dead", server, ROWS, patience=0.2)
        options = ("--executor", "local", "--tasks", "2", "--workers", "2")
        said = finish(start(hub, recipe, *options), code=1)
        last = said.strip().splitlines()[-1]
        assert last.startswith("error: stages.backtranslate: task ")
        assert "run again to go on" in last
        assert "Traceback" not in said
        answered, limit = server.answered, 10**9
        finish(start(hub, recipe, *options))
        assert answered > 0
        assert server.answered == ROWS
    assert published(hub, "dead") == calm


def test_tasks_stop_early_when_too_many_rows_go_wrong(hub: HubAddress, tmp_path: Path) -> None:
    limits = {"rejected": 0.5, "of_at_least": 40}
    with serving(lambda *_: "cut") as server:
        recipe = asking_recipe(tmp_path, hub, "bad", server, ROWS, stop_when=limits)
        options = ("--executor", "local", "--tasks", "2", "--workers", "2")
        said = finish(start(hub, recipe, *options), code=1)
    assert "20 of the first 20 rows were rejected" in said
    assert "such as row" in said


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--executor", "lokal"], "--executor lokal: there are local, slurm, ray, jobs"),
        (["--tasks", "3"], "go with --executor"),
        (["--executor", "local", "--tasks", "0"], "at least 1"),
        (["--executor", "local", "--executor-set", "workrs=3"], "workrs is no setting of this executor"),
        (["--executor", "slurm", "--executor-set", "partition"], "write it as KEY=VALUE"),
        (["--executor", "jobs"], "needs a --shared folder that Jobs can reach"),
        (["--executor", "jobs", "--shared", "hf://buckets/demo/b"], "which Jobs cannot reach"),
        (["--executor", "local", "--shared", "nosuch://x"], "is no folder that tasks can share"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(
    hub: HubAddress, tmp_path: Path, options: list[str], told: str
) -> None:
    with serving() as server:
        said = finish(start(hub, asking_recipe(tmp_path, hub, "refused", server), *options), code=2)
        assert said.startswith("error: ")
        assert told in said
        assert len(said.strip().splitlines()) == 1
        assert not (tmp_path / "work").exists()


def test_the_embedded_endpoint_is_refused_where_other_machines_would_ask_it(
    hub: HubAddress, tmp_path: Path
) -> None:
    with serving() as server:
        recipe = asking_recipe(tmp_path, hub, "near", server)
        options = ("--set", "endpoints.backward.url=null", "--executor", "ray")
        assert "answers on this machine alone" in finish(start(hub, recipe, *options), code=2)


def test_tasks_ask_the_embedded_endpoint_that_the_run_started(hub: HubAddress, tmp_path: Path) -> None:
    with serving() as server:
        for name, options in (("near-calm", ()), ("near", ("--executor", "local", "--tasks", "2"))):
            recipe = asking_recipe(tmp_path / name, hub, name, server, 8)
            finish(start(hub, recipe, "--set", "endpoints.backward.url=null", *options))
        assert server.requests.total() == 0
    assert published(hub, "near") == published(hub, "near-calm")
