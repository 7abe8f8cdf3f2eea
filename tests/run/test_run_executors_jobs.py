"""Tasks as Jobs, which share nothing with the run but a folder on the Hub."""

from __future__ import annotations

from pathlib import Path

import pytest
from executor_support import TOKEN, asking_recipe, finish, holding, published, start
from fault_server import serving
from huggingface_hub import HfApi
from run_support import HubAddress

ROWS, TASKS = 24, 3


@pytest.mark.timeout(280)
def test_jobs_share_a_folder_on_the_hub_and_publish_the_same_bytes(hub: HubAddress, tmp_path: Path) -> None:
    with serving() as server:
        finish(start(hub, asking_recipe(tmp_path / "calm", hub, "jobs-calm", server, ROWS)))
    (tmp_path / "jobs").mkdir()
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    api.create_repo("demo/scratch", repo_type="dataset", private=True)
    with serving(seconds=1.5) as server:
        recipe = asking_recipe(tmp_path / "spread", hub, "jobs-spread", server, ROWS)
        shared = ("--shared", "hf://datasets/demo/scratch/tasks", "--executor-set", "poll_interval=1")
        run = start(
            hub,
            recipe,
            *("--executor", "jobs", "--tasks", str(TASKS), "--workers", "2", *shared),
            program=Path(__file__).with_name("jobs_program.py"),
            JOBS_FOLDER=str(tmp_path / "jobs"),
        )
        said = finish(run)
        assert ROWS <= server.requests.total() <= ROWS + ROWS // TASKS  # what a lost one had asked
    assert len(list((tmp_path / "jobs").iterdir())) == TASKS + 1
    assert published(hub, "jobs-spread") == published(hub, "jobs-calm")
    assert "Traceback" not in said
    left = [
        name for name in api.list_repo_files("demo/scratch", repo_type="dataset") if name.startswith("tasks/")
    ]
    assert {Path(name).parent.name for name in left} == {"journals"}
    api.snapshot_download("demo/scratch", repo_type="dataset", local_dir=tmp_path / "scratch")
    assert holding(tmp_path / "scratch", TOKEN) == []
