"""Tasks on a real Slurm: what is lost runs again alone, and a killed run finds its job."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

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
from slurm_support import queued, slurm

ROWS, CONCURRENCY = 60, 8
SLURM = ("--executor", "slurm", "--tasks", "6", "--workers", "2")

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(280)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with slurm(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


def test_lost_tasks_and_a_lost_run_cost_no_row_and_no_second_job(
    hub: HubAddress, cluster: dict[str, str], tmp_path: Path
) -> None:
    with serving() as server:
        finish(start(hub, asking_recipe(tmp_path / "calm", hub, "slurm-calm", server, ROWS)))
    spread = tmp_path / "spread"
    with serving(seconds=1) as server:
        recipe = asking_recipe(spread, hub, "slurm-spread", server, ROWS)
        run = start(hub, recipe, *SLURM, **cluster)
        wait_until(lambda: server.answered > 4 and len(programs(spread)) == 2)
        kill(programs(spread)[0])
        running = [name for name, state in queued(cluster) if state == "RUNNING"]
        subprocess.run(["scancel", running[-1]], env=cluster, check=True)
        wait_until(lambda: server.answered > 12)
        kill(run.pid)
        run.wait()
        jobs = {name.partition("_")[0] for name, _ in queued(cluster)}
        assert len(jobs) == 1
        (job,) = spread.rglob("job.json")
        written = job.stat().st_mtime_ns
        again = start(hub, recipe, *SLURM, **cluster)
        wait_until(lambda: job.stat().st_mtime_ns > written)
        time.sleep(0.5)
        again.send_signal(signal.SIGINT)
        assert "error: the tasks go on as Slurm's job " in finish(again, code=1)
        again = start(hub, recipe, *SLURM, **cluster)
        wait_until(lambda: server.answered > 36)
        assert {name.partition("_")[0] for name, _ in queued(cluster)} <= jobs
        said = finish(again)
        assert ROWS < server.requests.total() <= ROWS + 3 * CONCURRENCY
    assert published(hub, "slurm-spread") == published(hub, "slurm-calm")
    assert "Traceback" not in said
    assert queued(cluster) == []
    assert holding(spread, TOKEN) == []


def test_a_refused_job_is_named(hub: HubAddress, cluster: dict[str, str], tmp_path: Path) -> None:
    with serving() as server:
        recipe = asking_recipe(tmp_path, hub, "slurm-refused", server, 12)
        options = (*SLURM, "--executor-set", "partition=nowhere")
        said = finish(start(hub, recipe, *options, **cluster), code=1)
    assert "error: Slurm refused the job (sbatch ended with 1)" in said
    assert "Traceback" not in said


def test_tasks_that_fail_end_the_run_with_their_reason(
    hub: HubAddress, cluster: dict[str, str], tmp_path: Path
) -> None:
    with serving(lambda *_: 503) as server:
        recipe = asking_recipe(tmp_path, hub, "slurm-down", server, 12, patience=0.2)
        said = finish(start(hub, recipe, *SLURM, **cluster), code=1)
    assert "error: stages.backtranslate: task " in said
    assert "run again" in said
    assert "Traceback" not in said
    assert queued(cluster) == []
