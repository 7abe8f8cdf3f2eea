from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_samples import make_pairs, quick, resumable

from training import checkpoints, seal
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


def test_a_training_killed_while_it_saves_ends_as_if_undisturbed(
    stopped: tuple[Path, Trained], base: Base, tmp_path: Path
):
    told = run_and_kill(base, tmp_path / "killed", step=4)
    assert told == [1, 2, 3, 4]
    assert (tmp_path / "killed" / "checkpoints" / "checkpoint-4").exists()
    events = []
    resumed = train(resumable("full"), make_pairs(12), base, tmp_path / "killed", events.append)
    assert [event.step for event in events] == [3, 4, 5, 6]  # the checkpoint of step 4 was cut off
    assert_same(resumed, stopped[1])


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_an_adapter_goes_on_as_if_undisturbed(base: Base, tmp_path: Path, method: str):
    def stop_at_five(event) -> None:
        if event.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="the checkpoint of step 4 stays"):
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


def test_slow_steps_are_saved_by_the_clock(base: Base, work: Path):
    def stop_at_three(event) -> None:
        if event.step == 3:
            raise KeyboardInterrupt

    seldom = quick(save_steps=100, save_minutes=1e-9)
    with pytest.raises(KeyboardInterrupt, match="the checkpoint of step 2 stays"):
        train(seldom, make_pairs(12), base, work, stop_at_three)
    events = []
    train(seldom, make_pairs(12), base, work, events.append)
    assert [event.step for event in events] == [3, 4]


def test_a_training_stopped_before_its_first_checkpoint_says_when_that_is_due(base: Base, work: Path):
    def stop(event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="the first is due at step 4 or after 30 min"):
        train(quick(save_steps=100), make_pairs(12), base, work, stop)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def turn_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "optimizer.pt": cut,
    "model.safetensors": turn_a_bit,
    "rng_state.pth": Path.unlink,
    checkpoints.MARKER: cut,
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    stopped: tuple[Path, Trained], base: Base, tmp_path: Path, name: str
):
    shutil.copytree(stopped[0], tmp_path / "work")
    DAMAGES[name](tmp_path / "work" / "checkpoints" / "checkpoint-4" / name)
    events, notes = [], []
    resumed = train(
        resumable("full"), make_pairs(12), base, tmp_path / "work", events.append, on_note=notes.append
    )
    assert [event.step for event in events] == [3, 4, 5, 6]
    assert notes == [f"the checkpoint of step 4 is damaged ({name}): on from step 2"]
    assert_same(resumed, stopped[1])


@pytest.fixture(scope="module")
def stopped(base: Base, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trained]:
    """The work of a training that was stopped at step 5, and the same training undisturbed."""

    def stop_at_five(event) -> None:
        if event.step == 5:
            raise KeyboardInterrupt

    torch.set_num_threads(1)
    work = tmp_path_factory.mktemp("stopped")
    with pytest.raises(KeyboardInterrupt):
        train(resumable("full"), make_pairs(12), base, work, stop_at_five)
    return work, train(resumable("full"), make_pairs(12), base, tmp_path_factory.mktemp("calm"))


def test_where_every_checkpoint_is_damaged_it_begins_anew(tmp_path: Path):
    folder = tmp_path / "checkpoints"
    checkpoints.prepare(folder, "key")
    for step in (2, 4):
        (folder / f"checkpoint-{step}").mkdir()
        (folder / f"checkpoint-{step}" / "model.safetensors").write_bytes(b"weights")
        checkpoints.mark_complete(folder / f"checkpoint-{step}", 1.0)
        cut(folder / f"checkpoint-{step}" / "model.safetensors")
    notes = []
    assert checkpoints.prepare(folder, "key", notes.append) is None
    assert [note.partition(": ")[2] for note in notes] == ["on from step 2", "on from the start"]


def test_a_large_file_is_digested_in_parts_of_which_each_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(seal, "CHUNK", 10)
    path = tmp_path / "a" / "large"
    path.parent.mkdir()
    path.write_bytes(bytes(range(35)))
    digests = seal.digests(tmp_path)
    assert list(digests) == ["a/large"]
    assert seal.damaged(tmp_path, digests) == []
    for place in (0, 10, 29, 34):
        content = bytearray(range(35))
        content[place] += 1
        path.write_bytes(content)
        assert seal.damaged(tmp_path, digests) == ["a/large"]
    path.write_bytes(bytes([*range(10, 20), *range(10), *range(20, 35)]))
    assert seal.damaged(tmp_path, digests) == ["a/large"]


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
