"""Trainings of two processes on CPUs (gloo): the same as of one, up to the order of sums."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from killed_launch import LONG, together
from pydantic import ValidationError
from safetensors.torch import load_file
from training_samples import make_pairs

from training import launch, sft
from training.errors import TrainingError
from training.events import StepEvent, Watcher
from training.publish import Base
from training.settings import TrainSettings
from training.sft import Job, Trained, fit, train

HERE = Path(__file__).parent
ALONE = {"processes": 1, "sharding": "ddp"}
WATCHED = {"held_out": 2, "keep_steps": [2], "eval_steps": 2, "samples": 1, "sample_tokens": 4}


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch):
    """The processes find the tests' own modules too, and take a core each."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parents[1])]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def change_worker(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Let the processes be those of `changed_worker`."""
    command = launch.command

    def changed(settings: TrainSettings, folder: Path) -> list[str]:
        start = command(settings, folder)
        return [
            *start[: start.index("training.worker") - 1],
            str(HERE / "changed_worker.py"),
            str(folder),
            how,
        ]

    monkeypatch.setattr(launch, "command", changed)
    monkeypatch.setattr(sft, "check_needs", lambda settings: None)


def assert_same(two: Trained, one: Trained) -> None:
    for (_, some), (_, others) in zip(two.losses + two.held_out, one.losses + one.held_out, strict=True):
        assert some == pytest.approx(others, rel=1e-5)
    assert (two.counts, two.tokens, two.parameters) == (one.counts, one.tokens, one.parameters)
    assert (two.chosen, two.samples, two.settings) == (one.chosen, one.samples, one.settings)
    first, second = (load_file(next(done.folder.glob("*.safetensors"))) for done in (two, one))
    assert first.keys() == second.keys()
    for name in first:
        assert (first[name].float() - second[name].float()).abs().max() < 1e-3


@pytest.mark.slow
def test_two_processes_train_what_one_trains(base: Base, tmp_path: Path):
    events, notes = [], []
    settings = together(**WATCHED)
    two = train(
        settings, make_pairs(12), base, tmp_path / "two", events.append, on_note=notes.append, threads=1
    )
    one = train(settings.model_copy(update=ALONE), make_pairs(12), base, tmp_path / "one")
    assert_same(two, one)
    assert [(event.step, event.loss) for event in events] == two.losses
    told = [note for note in notes if "held-out" in note]
    assert told == [f"step {step}: held-out loss {loss:.3f}" for step, loss in two.held_out]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "qlora"])
def test_a_model_split_by_fsdp2_trains_as_a_whole_one(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
):
    change_worker(monkeypatch, "split")
    settings = together(**WATCHED, method=method, sharding="fsdp2")
    if method == "qlora":  # and goes on where it was stopped
        with pytest.raises(KeyboardInterrupt):
            train(settings, make_pairs(12), base, tmp_path / "two", stop_at_three, threads=1)
    events = []
    two = train(settings, make_pairs(12), base, tmp_path / "two", events.append, threads=1)
    assert [event.step for event in events] == {"full": [1, 2, 3, 4], "qlora": [3, 4]}[method]
    assert (tmp_path / "two" / "checkpoints" / "checkpoint-4" / "pytorch_model_fsdp.bin").exists()
    one = train(settings.model_copy(update=ALONE), make_pairs(12), base, tmp_path / "one")
    assert_same(two, one)


def stop_at_three(event: StepEvent) -> None:
    if event.step == 3:
        raise KeyboardInterrupt


@pytest.mark.slow
def test_killed_processes_end_with_their_parent_and_go_on_as_if_undisturbed(base: Base, tmp_path: Path):
    work = tmp_path / "killed"
    killed = subprocess.run(
        [sys.executable, HERE / "killed_launch.py", base.path, work], check=False, timeout=120
    )
    assert killed.returncode == -signal.SIGKILL
    gone_by = time.monotonic() + 20
    while running(work) and time.monotonic() < gone_by:
        time.sleep(0.1)
    assert running(work) == []
    events = []
    resumed = train(together(**LONG), make_pairs(12), base, work, events.append, threads=1)
    first = events[0].step  # after the kill in step 3 the processes may get a few steps further
    assert first > 2
    assert [event.step for event in events] == list(range(first, 41))
    assert_same(resumed, train(together(**LONG, **ALONE), make_pairs(12), base, tmp_path / "calm"))


def running(work: Path) -> list[str]:
    """Return the processes whose command line names a folder."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:  # it has just ended
            continue
    return [line for line in lines if str(work) in line]


@pytest.mark.slow
def test_where_memory_runs_out_in_one_process_all_start_again_with_less(
    base: Base, work: Path, monkeypatch: pytest.MonkeyPatch
):
    change_worker(monkeypatch, "tight")
    notes = []
    trained = train(together(steps=2), make_pairs(12), base, work, on_note=notes.append, threads=1)
    assert notes == ["out of memory: now micro_batch 1, the same pairs in each step"]
    assert [step for step, _ in trained.losses] == [1, 2]


SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
SLURM_NODEID=1 "$@" & second=$!
SLURM_NODEID=0 "$@" && wait $second
"""


@pytest.mark.slow
def test_two_machines_train_what_one_trains(base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    srun = tmp_path / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text(SRUN)  # both machines are this one
    srun.chmod(0o755)
    monkeypatch.setenv("PATH", f"{srun.parent}:{os.environ['PATH']}")
    for name, value in {"NNODES": 2, "JOB_ID": os.getpid()}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    monkeypatch.setenv("SLURMD_NODENAME", "localhost")
    two = train(together(), make_pairs(12), base, tmp_path / "two", threads=1)
    assert_same(two, train(together(**ALONE), make_pairs(12), base, tmp_path / "one"))


def test_processes_leave_writing_the_model_to_the_one_that_started_them(base: Base, work: Path):
    settings = together(steps=2, **ALONE).resolve("cpu")
    fit(Job(settings, make_pairs(12), base, work, 1), Watcher())  # ZeRO splits what one process loads
    assert (work / "checkpoints" / "checkpoint-2" / "model.safetensors").exists()
    assert not (work / "model").exists()


def test_memory_counts_before_what_it_broke_in_other_processes(tmp_path: Path):
    told = [("TrainingError", "a neighbour is gone", 1.0), ("OutOfMemory", "out of memory", 2.0)]
    for rank, (kind, message, when) in enumerate(told):
        content = {"kind": kind, "message": message, "time": when}
        (tmp_path / launch.FAILURE.format(rank=rank)).write_text(json.dumps(content))
    assert str(launch._failure(tmp_path, 1)) == "out of memory"


def test_processes_that_vanish_leave_a_log_to_read(tmp_path: Path):
    assert str(launch._failure(tmp_path, -9)) == (
        "the training's processes ended with code -9 and without a result; see "
        f"{tmp_path / 'processes.log'}, and start again to go on from the last checkpoint"
    )


def test_a_slurm_allocation_starts_one_launcher_a_machine(tmp_path: Path):
    settings = TrainSettings(batch_size=64, processes=64, sharding="fsdp2")
    environ = {"SLURM_NNODES": "8", "SLURMD_NODENAME": "gpu-1", "SLURM_JOB_ID": "71234"}
    *start, script = launch.command(settings, tmp_path, environ)
    assert start == ["srun", "--ntasks-per-node=1", "--kill-on-bad-exit=1", "bash", "-c"]
    words = shlex.split(script)
    for option, value in (
        ("--num_processes", "64"),
        ("--num_machines", "8"),
        ("--machine_rank", "$SLURM_NODEID"),
        ("--main_process_ip", "gpu-1"),
        ("--main_process_port", "29734"),
        ("--config_file", str(launch.PROFILES / "fsdp2.yaml")),
    ):
        assert words[words.index(option) + 1] == value
    assert words[-3:] == ["-m", "training.worker", str(tmp_path)]
    with pytest.raises(TrainingError, match="set processes to a multiple of 8"):
        launch.command(TrainSettings(batch_size=60, processes=12), tmp_path, environ)


@pytest.mark.parametrize("sharding", ["ddp", "fsdp2", "zero3"])
def test_accelerate_takes_every_profile(sharding: str):
    from accelerate.commands.config.config_args import ClusterConfig

    path = launch.PROFILES / f"{sharding}.yaml"
    config = ClusterConfig.from_yaml_file(yaml_file=str(path))
    kinds = {"ddp": "MULTI_GPU", "fsdp2": "FSDP", "zero3": "DEEPSPEED"}
    assert (
        config.distributed_type.value
        == kinds[sharding]
        == yaml.safe_load(path.read_text())["distributed_type"]
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"processes": 3}, "3 processes do not divide batch_size 32"),
        ({"processes": 4, "micro_batch": 3}, "micro_batch 3 does not divide the 8 pairs of each process"),
        ({"processes": 0}, "processes"),
        ({"sharding": "fsdp1"}, "sharding"),
        ({"sharding": "zero3", "method": "qlora"}, "zero3 is for method full; take fsdp2 or ddp for qlora"),
    ],
)
def test_processes_that_cannot_share_a_step_are_refused(change: dict[str, object], words: str):
    with pytest.raises(ValidationError, match=words):
        TrainSettings(**change)


def test_splitting_on_a_cpu_is_refused(base: Base, work: Path):
    with pytest.raises(TrainingError, match="sharding is zero3, which needs GPUs"):
        train(together(sharding="zero3"), make_pairs(12), base, work)


def test_how_many_processes_train_is_in_no_fingerprint():
    settings = TrainSettings(batch_size=64, processes=64, sharding="fsdp2", tracker="trackio")
    assert settings.model_dump() == TrainSettings(batch_size=64).model_dump()
