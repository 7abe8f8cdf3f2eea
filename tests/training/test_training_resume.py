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


def run_and_kill(base: Base, work: Path, step: int) -> list[int]:
    """Train in a child that is killed, and return the steps it had told."""
    paths = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    child = subprocess.run(
        [
            sys.executable,
            str(HERE / "killed_training.py"),
            str(base.path),
            str(work),
            str(step),
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


def test_a_training_killed_while_it_saves_ends_as_if_undisturbed(base: Base, tmp_path: Path):
    told = run_and_kill(base, tmp_path / "killed", step=4)
    assert told == [1, 2, 3, 4]
    assert (tmp_path / "killed" / "checkpoints" / "checkpoint-4").exists()
    events = []
    resumed = train(resumable("full"), make_pairs(12), base, tmp_path / "killed", events.append)
    assert [event.step for event in events] == [3, 4, 5, 6]  # the checkpoint of step 4 was cut off
    assert_same(resumed, train(resumable("full"), make_pairs(12), base, tmp_path / "calm"))


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_an_adapter_goes_on_as_if_undisturbed(base: Base, tmp_path: Path, method: str):
    def stop_at_five(event) -> None:
        if event.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(resumable(method), make_pairs(12), base, tmp_path / "stopped", stop_at_five)
    events = []
    resumed = train(resumable(method), make_pairs(12), base, tmp_path / "stopped", events.append)
    assert [event.step for event in events] == [5, 6]
    assert_same(resumed, train(resumable(method), make_pairs(12), base, tmp_path / "calm"))


def assert_same(resumed: Trained, undisturbed: Trained) -> None:
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


def test_a_checkpoint_of_another_run_is_not_used(base: Base, work: Path):
    one = quick(steps=1)
    other_base = Base(base.path, base.repo, "f" * 40)
    runs = [
        (one, make_pairs(8), base),
        (quick(steps=1, learning_rate=1e-3), make_pairs(8), base),
        (one, make_pairs(8), base),
        (one, make_pairs(9), base),
        (one, make_pairs(9), other_base),
    ]
    for settings, pairs, chosen in runs:
        events = []
        train(settings, pairs, chosen, work, events.append)
        assert [event.step for event in events] == [1]


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
