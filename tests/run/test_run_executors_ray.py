"""Tasks on a real Ray cluster of two nodes: a lost node's tasks run again elsewhere, and no byte differs."""

from __future__ import annotations

import signal
from collections.abc import Iterator
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
from run_support import ROOT, HubAddress

ROWS, CONCURRENCY = 60, 8
SESSIONS = Path("/tmp/ray")  # where Ray keeps its logs
RAY = ("--executor", "ray", "--tasks", "6", "--workers", "2")

pytestmark = pytest.mark.timeout(280)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without a place for tasks, and two nodes with one each."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("ENDPOINT_TOKEN", raising=False)
    from ray.cluster_utils import Cluster

    room = {"object_store_memory": 100_000_000}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **room})
    cluster.nodes = [cluster.add_node(num_cpus=1, **room) for _ in range(2)]
    yield cluster
    cluster.shutdown()


def parent(pid: int) -> int:
    """Return the id of a process's parent."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_tasks_of_a_lost_node_run_on_another_and_the_bytes_are_the_same(
    hub: HubAddress, cluster: Any, tmp_path: Path
) -> None:
    with serving() as server:
        finish(start(hub, asking_recipe(tmp_path / "calm", hub, "ray-calm", server, ROWS)))
    with serving(seconds=0.3) as server:
        recipe = asking_recipe(tmp_path / "spread", hub, "ray-spread", server, ROWS)
        run = start(hub, recipe, *RAY, RAY_ADDRESS=cluster.address)
        wait_until(lambda: server.answered > 5 and len(programs(tmp_path)) == 2)
        kill(run.pid)
        run.wait()
        wait_until(lambda: not programs(tmp_path))
        run = start(hub, recipe, *RAY, RAY_ADDRESS=cluster.address)
        wait_until(lambda: len(programs(tmp_path)) == 2)
        kill(parent(programs(tmp_path)[0]))  # the worker process of Ray
        wait_until(lambda: server.answered > 30 and programs(tmp_path))
        cluster.remove_node(cluster.nodes[0], allow_graceful=False)
        said = finish(run)
        assert ROWS < server.requests.total() <= ROWS + 3 * CONCURRENCY
    assert published(hub, "ray-spread") == published(hub, "ray-calm")
    assert "Traceback" not in said
    assert programs(tmp_path) == []
    session = (SESSIONS / "session_latest").resolve()
    assert session.is_dir()
    assert holding(tmp_path, TOKEN) == holding(session, TOKEN) == []


def test_tasks_that_fail_and_runs_that_are_interrupted_end_in_one_line(
    hub: HubAddress, cluster: Any, tmp_path: Path
) -> None:
    with serving(lambda *_: 503) as server:
        recipe = asking_recipe(tmp_path / "down", hub, "ray-down", server, 12, patience=0.2)
        said = finish(start(hub, recipe, *RAY, RAY_ADDRESS=cluster.address), code=1)
    assert said.splitlines()[-1].startswith("error: stages.backtranslate: task ")
    assert "Traceback" not in said
    with serving(seconds=1) as server:
        recipe = asking_recipe(tmp_path / "stop", hub, "ray-stop", server, ROWS)
        run = start(hub, recipe, *RAY, RAY_ADDRESS=cluster.address)
        wait_until(lambda: server.answered > 5)
        run.send_signal(signal.SIGINT)
        said = finish(run, code=130)
        wait_until(lambda: not programs(tmp_path), 20)
        assert server.answered < ROWS
    assert "Traceback" not in said


def test_a_cluster_that_is_not_there_is_named(hub: HubAddress, tmp_path: Path) -> None:
    with serving() as server:
        recipe = asking_recipe(tmp_path, hub, "no-ray", server, 12)
        said = finish(start(hub, recipe, *RAY, RAY_ADDRESS="127.0.0.1:9"), code=1)
    assert said.startswith("error: --executor ray finds no cluster at RAY_ADDRESS=127.0.0.1:9")
    assert len(said.splitlines()) == 1
