"""A training on two machines of a real Slurm: one process is killed, and it ends as one process trains."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from executor_support import kill, processes, wait_until
from huggingface_hub import snapshot_download
from run_support import BASE, ROOT, HubAddress, backforth, trees, write_lines, write_recipe
from safetensors.torch import load_file
from slurm_support import queued, slurm

SCRIPT = ROOT / "training" / "accelerate" / "slurm.sh"
OTHERS = ("--ntasks-per-node=2", "--cpus-per-task=1", "--gpus-per-node=0", "--oversubscribe")

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(280)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with slurm(tmp_path_factory.mktemp("slurm"), nodes=2) as environment:
        yield environment


def recipe(folder: Path, hub: HubAddress, name: str, **training: object) -> Path:
    """Write a recipe of a seed and a full training on it."""
    folder.mkdir()
    write_lines(folder / "trees.jsonl", trees(12))
    few = {"steps": 40, "batch_size": 4, "max_length": 512, "save_steps": 5, "attention_dropout": 0.0}
    content = {
        "name": name,
        "namespace": "demo",
        "work": str(folder / "work"),
        "hub": {"endpoint": hub.endpoint},
        "stages": {
            "seed": {"source": "trees.jsonl"},
            "train-backward": {"reads": {"base": BASE}, "method": "full", **few, **training},
        },
    }
    return write_recipe(folder, content)


def submit(hub: HubAddress, cluster: dict[str, str], folder: Path) -> None:
    command = [sys.executable, "-m", "hub_tools", "run", "recipe.yaml", "--only", "train-backward"]
    subprocess.run(
        ["sbatch", "--output=said.log", *OTHERS, SCRIPT, *command],
        env=hub.environment(**cluster),
        cwd=folder,
        check=True,
    )


def last_step(folder: Path) -> int:
    """Return the step of the newest whole checkpoint."""
    whole = folder.rglob("checkpoint-*/complete.json")
    return max((int(path.parent.name.rpartition("-")[2]) for path in whole), default=0)


def workers(folder: Path) -> list[int]:
    """Return the ids of the training processes that work in a folder."""
    lines = [(pid, line) for pid, line in processes() if "-m training.worker" in line and str(folder) in line]
    return [pid for pid, line in lines if "accelerate" not in line]


def weights(hub: HubAddress, repo: str) -> dict[str, Any]:
    folder = snapshot_download(repo, endpoint=hub.endpoint, token=hub.token, allow_patterns="*.safetensors")
    return load_file(Path(folder) / "model.safetensors")


def test_two_machines_whose_job_broke_and_went_on_train_what_one_process_trains(
    hub: HubAddress, cluster: dict[str, str], tmp_path: Path
) -> None:
    done = backforth(hub, "run", str(recipe(tmp_path / "one", hub, "slurm-one")))
    assert done.returncode == 0, done.stderr
    two = tmp_path / "two"
    seed = str(recipe(two, hub, "slurm-two", processes=2))
    assert backforth(hub, "run", seed, "--only", "seed").returncode == 0

    submit(hub, cluster, two)
    wait_until(lambda: last_step(two))
    assert len(workers(two)) == 2  # a launcher a machine, whatever else the job asks for
    kill(workers(two)[-1])
    wait_until(lambda: not queued(cluster))
    said = (two / "said.log").read_text()
    assert " was ended by SIGKILL, as happens where a machine's memory runs out; see " in said
    assert "Traceback" not in said

    submit(hub, cluster, two)
    wait_until(lambda: not queued(cluster))
    one, other = (weights(hub, f"demo/slurm-{name}-backward-1m") for name in ("one", "two"))
    assert one.keys() == other.keys()
    for name in one:
        assert (one[name].float() - other[name].float()).abs().max() < 1e-3
