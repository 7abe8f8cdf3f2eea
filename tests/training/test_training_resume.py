from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_samples import make_pairs, quick, resumable

from training import checkpoints
from training.publish import Base
from training.sft import Trained, train

HERE = Path(__file__).parent


def run_and_kill(base: Base, work: Path, step: int, method: str, where: str) -> list[int]:
    """Train in a child that is killed, and return the steps it had told."""
    paths = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    child = subprocess.run(
        [
            sys.executable,
            str(HERE / "killed_training.py"),
            str(base.path),
            str(work),
            str(step),
            method,
            where,
        ],
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    return [int(line) for line in child.stdout.split()]


def weights(trained: Trained) -> dict[str, torch.Tensor]:
    return load_file(next(trained.folder.glob("*.safetensors")))


@pytest.mark.parametrize(
    ("method", "where", "step", "first_again"),
    [
        ("full", "in_step", 5, 5),  # the checkpoint of step 4 is there
        ("qlora", "while_saving", 4, 3),  # that of step 4 was cut off, so the one of step 2 counts
    ],
)
def test_a_killed_training_ends_as_if_undisturbed(base: Base, tmp_path, method, where, step, first_again):
    told = run_and_kill(base, tmp_path / "killed", step, method, where)
    assert told == list(range(1, step + 1))
    events = []
    resumed = train(resumable(method), make_pairs(12), base, tmp_path / "killed", events.append)
    assert [event.step for event in events] == list(range(first_again, 7))
    undisturbed = train(resumable(method), make_pairs(12), base, tmp_path / "calm")
    assert resumed.losses == undisturbed.losses
    assert [step for step, _ in resumed.losses] == [1, 2, 3, 4, 5, 6]
    assert resumed.tokens == undisturbed.tokens
    one, other = weights(resumed), weights(undisturbed)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_finished_training_is_not_repeated(base: Base, work: Path):
    first = train(quick(), make_pairs(8), base, work)
    events = []
    second = train(quick(), make_pairs(8), base, work, events.append)
    assert events == []
    assert second.losses == first.losses
    assert second.seconds == first.seconds
    one, other = weights(first), weights(second)
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("change", ["settings", "pairs", "base"])
def test_a_checkpoint_of_another_run_is_not_used(base: Base, work: Path, change: str):
    train(quick(), make_pairs(8), base, work)
    settings = quick(learning_rate=1e-3) if change == "settings" else quick()
    pairs = make_pairs(9) if change == "pairs" else make_pairs(8)
    other = Base(base.path, base.repo, "f" * 40) if change == "base" else base
    events = []
    train(settings, pairs, other, work, events.append)
    assert [event.step for event in events] == [1, 2, 3, 4]


def test_merging_and_saving_more_often_reuse_the_checkpoints(base: Base, work: Path):
    train(quick(), make_pairs(8), base, work)
    events = []
    merged = train(quick(merge=True, save_steps=1), make_pairs(8), base, work, events.append)
    assert events == []
    assert merged.kind == "merged"


def test_the_newest_complete_checkpoint_is_chosen_by_number(tmp_path: Path):
    folder = tmp_path / "checkpoints"
    assert checkpoints.prepare(folder, "key") is None
    for step in (9, 10, 11):
        (folder / f"checkpoint-{step}").mkdir()
    for step in (9, 10):
        checkpoints.mark_complete(folder / f"checkpoint-{step}", float(step))
    newest = checkpoints.prepare(folder, "key")
    assert newest == folder / "checkpoint-10"
    assert checkpoints.seconds_before(newest) == 10.0
    assert not (folder / "checkpoint-11").exists()
    assert checkpoints.prepare(folder, "another key") is None
    assert not (folder / "checkpoint-10").exists()
