"""Trainings of two processes on CPUs (gloo): the same as of one, up to the order of sums."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from killed_launch import LONG, together
from pydantic import ValidationError
from safetensors.torch import load_file
from training_samples import make_pairs

from training import checkpoints, launch, methods, needs, sft, slurm, worker
from training.errors import TrainingError
from training.events import StepEvent, Watcher
from training.layout import lay_out
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
    settings = together(**WATCHED, save_steps=100, save_minutes=1e-9)
    two = train(
        settings, make_pairs(12), base, tmp_path / "two", events.append, on_note=notes.append, threads=1
    )
    one = train(settings.model_copy(update=ALONE), make_pairs(12), base, tmp_path / "one")
    assert_same(two, one)
    assert [(event.step, event.loss) for event in events] == two.losses
    told = [note for note in notes if "held-out" in note]
    assert told == [f"step {step}: held-out loss {loss:.3f}" for step, loss in two.held_out]
    assert (tmp_path / "two" / "checkpoints" / "checkpoint-3").exists()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "qlora"])
def test_a_model_split_by_fsdp2_trains_as_a_whole_one(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
):
    change_worker(monkeypatch, "split")
    settings = together(**WATCHED, method=method, sharding="fsdp2", weights="bfloat16")
    if method == "qlora":  # and goes on where one of its processes was killed
        with pytest.raises(TrainingError, match=r"process 1 on \S+ was ended by SIGKILL") as caught:
            train(settings, make_pairs(12), base, tmp_path / "two", kill_one_at_three(tmp_path), threads=1)
        assert "\n" not in str(caught.value)
    events = []
    two = train(settings, make_pairs(12), base, tmp_path / "two", events.append, threads=1)
    assert [event.step for event in events] == {"full": [1, 2, 3, 4], "qlora": [3, 4]}[method]
    assert (tmp_path / "two" / "checkpoints" / "checkpoint-4" / "pytorch_model_fsdp.bin").exists()
    alone = settings.model_copy(update=ALONE | {"weights": "float32"})  # as split ones are, whatever they say
    assert_same(two, train(alone, make_pairs(12), base, tmp_path / "one"))


def kill_one_at_three(folder: Path) -> Callable[[StepEvent], None]:
    """Return what kills the second of two processes that work in a folder, in the third step."""

    def kill(event: StepEvent) -> None:
        if event.step == 3:
            workers = [pid for pid, line in running(folder) if "accelerate" not in line]
            os.kill(next(pid for pid in workers if environment(pid)["RANK"] == "1"), signal.SIGKILL)

    return kill


def environment(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    return dict(line.split("=", 1) for line in lines if "=" in line)


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


def running(folder: Path) -> list[tuple[int, str]]:
    """Return the processes whose command line names a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has just ended
            continue
        if str(folder) in line:
            found.append((int(path.parent.name), line))
    return found


@pytest.mark.slow
def test_where_memory_runs_out_in_one_process_all_start_again_with_less(
    base: Base, work: Path, monkeypatch: pytest.MonkeyPatch
):
    change_worker(monkeypatch, "tight")
    notes = []
    trained = train(together(steps=2), make_pairs(12), base, work, on_note=notes.append, threads=1)
    assert notes == ["out of memory: now micro_batch 1, the same pairs in each step"]
    assert [step for step, _ in trained.losses] == [1, 2]


def test_processes_leave_writing_the_model_to_the_one_that_started_them(base: Base, work: Path):
    settings = together(steps=2, **ALONE).resolve("cpu")
    fit(Job(settings, make_pairs(12), base, work, 1), Watcher())  # ZeRO splits what one process loads
    assert (work / "checkpoints" / "checkpoint-2" / "model.safetensors").exists()
    assert not (work / "model").exists()


def told(rank: int, kind: str, message: str, when: float) -> dict[str, object]:
    return {"rank": rank, "host": "gpu-1", "failure": kind, "message": message, "time": when}


KILLED = """\
W1128 03:44:57 Sending process 20041 closing signal SIGTERM
Failures:
[1]:
  time      : 2026-11-28_03:44:57
  host      : gpu-1
  rank      : 0 (local_rank: 0)
  exitcode  : -15 (pid: 20041)  (SIGTERM)
Root Cause (first observed failure):
[0]:
  time      : 2026-11-28_03:44:56
  host      : gpu-2
  rank      : 1 (local_rank: 0)
  exitcode  : -9 (pid: 20042)  (SIGKILL)
"""


AGAIN = "; see {log}, and start again to go on from the last checkpoint"


@pytest.mark.parametrize(
    ("failures", "log", "words"),
    [
        (
            [told(0, "TrainingError", "a neighbour is gone", 1.0), told(1, "OutOfMemory", "out of it", 2.0)],
            KILLED,
            "out of it",
        ),
        (
            [told(0, "", "RuntimeError: connection reset", 1.0)],
            KILLED,
            f"process 1 on gpu-2 was ended by SIGKILL, as happens where a machine's memory runs out{AGAIN}",
        ),
        (
            [told(1, "", "connection reset", 2.0), told(0, "", "ValueError: no such layer", 1.0)],
            "",
            f"process 0 on gpu-1: ValueError: no such layer{AGAIN}",
        ),
        (
            [],
            "srun: error: Unable to create step",
            f"the training's processes ended with code 1 and without a result{AGAIN}",
        ),
    ],
)
def test_the_reason_of_the_process_that_failed_first_is_told(
    tmp_path: Path, failures: list[dict[str, object]], log: str, words: str
):
    path = tmp_path / "processes.log"
    path.write_text(log)
    assert str(launch._failure(failures, path, 1)) == words.format(log=path)


def test_a_slurm_allocation_starts_one_launcher_a_machine(tmp_path: Path):
    settings = TrainSettings(batch_size=64, processes=64, sharding="fsdp2")
    environ = {"SLURM_NNODES": "8", "SLURMD_NODENAME": "gpu-1", "SLURM_JOB_ID": "71234"}
    *start, script = launch.command(settings, tmp_path, environ)
    assert start[:5] == ["env", "--unset=SLURM_GPUS_PER_TASK", "srun", "--nodes=8", "--ntasks=8"]
    assert start[-2:] == ["bash", "-c"]
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


@pytest.mark.parametrize(
    ("processes", "change", "words"),
    [
        (12, {}, "12 processes cannot be spread evenly over 8 machines; set processes to a multiple of 8"),
        (16, {"SLURMD_NODENAME": None}, r"but this is none of them; start it with sbatch .*slurm\.sh"),
        (16, {"SLURM_STEP_NUM_TASKS": "8"}, "srun has started this 8 times; start it once, without srun"),
    ],
)
def test_a_slurm_allocation_that_does_not_fit_is_refused(
    processes: int, change: dict[str, str | None], words: str
):
    environ = {"SLURM_NNODES": "8", "SLURMD_NODENAME": "gpu-1", **change}
    with pytest.raises(TrainingError, match=words):
        slurm.check_allocation(processes, {name: value for name, value in environ.items() if value})


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        ({}, {"processes": 2}, None),
        ({"processes": 2}, {"processes": 4}, None),
        ({"processes": 2, "sharding": "fsdp2"}, {"processes": 4, "sharding": "fsdp2"}, None),
        ({"processes": 2, "sharding": "fsdp2"}, {"processes": 2}, "is fsdp2, but .* are now whole"),
        (
            {"processes": 4, "sharding": "zero3"},
            {"processes": 2, "sharding": "zero3"},
            "is zero3 over 4 processes, but .* now zero3 over 2 processes; set them back, or delete",
        ),
    ],
)
def test_a_checkpoint_that_is_split_in_another_way_is_refused_and_kept(
    base: Base, work: Path, before: dict[str, object], now: dict[str, object], words: str | None
):
    jobs = [Job(together(**ALONE | changes), make_pairs(12), base, work) for changes in (before, now)]
    assert jobs[0].newest_checkpoint() is None
    checkpoint = work / "checkpoints" / "checkpoint-2"
    checkpoint.mkdir()
    checkpoints.mark_complete(checkpoint, 1.0, checkpoints.split_of(jobs[0].settings))
    if words is None:
        assert jobs[1].newest_checkpoint() == checkpoint
    else:
        with pytest.raises(TrainingError, match=words):
            jobs[1].newest_checkpoint()
    assert jobs[0].newest_checkpoint() == checkpoint


def test_more_processes_than_gpus_are_refused(base: Base, work: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(methods, "device", lambda: "cuda")
    monkeypatch.setattr(methods, "gpus", lambda: 1)
    with pytest.raises(TrainingError, match=r"2 processes need a GPU each, but there are 1 here; set "):
        train(together(), make_pairs(12), base, work)
    monkeypatch.setenv("SLURM_NNODES", "2")
    monkeypatch.setenv("SLURMD_NODENAME", "gpu-1")
    with pytest.raises(TrainingError, match=r"1 here and on each of 2 machines; set .* to 2$"):
        train(together(processes=4), make_pairs(12), base, work)


def test_a_training_that_leaves_most_of_an_allocation_idle_says_so(
    base: Base, work: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SLURM_NNODES", "2")
    notes = []
    train(together(steps=1, **ALONE), make_pairs(12), base, work, on_note=notes.append)
    assert notes == ["1 process trains, though Slurm has allocated 2 machines; set processes to their GPUs"]


def test_a_machine_without_the_work_folder_says_so(tmp_path: Path):
    with pytest.raises(
        TrainingError, match=r"does not see .*let `work` be on a disk that all machines share"
    ):
        worker._fit(tmp_path / "nowhere")


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
        ({"processes": 3}, "3 processes do not divide batch_size 32; take 2 or 4, or another"),
        ({"processes": 64}, "64 processes do not divide batch_size 32; take 32, or another"),
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


def test_weights_that_are_split_are_float32(base: Base, work: Path, monkeypatch: pytest.MonkeyPatch):
    whole = TrainSettings(method="full", weights="bfloat16")
    split = whole.model_copy(update={"processes": 2, "sharding": "fsdp2"})
    assert whole.resolve("cuda").weights == "bfloat16"
    assert split.resolve("cuda").weights == "float32"
    monkeypatch.setattr(needs, "installed", lambda package: False)
    monkeypatch.setattr(needs, "_check_sharding", lambda settings: None)
    needs.check_needs(split)  # the package of 8-bit states, too
    with pytest.raises(TrainingError, match="pip install torchao"):
        needs.check_needs(whole)


def test_gradients_of_split_weights_are_summed_in_float32_after_each_micro_batch(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import torch
    from accelerate import FullyShardedDataParallelPlugin

    from training.trainer import sum_exactly, trainer_arguments
    from training.watch import Run

    monkeypatch.setenv("FSDP_VERSION", "2")
    plugin = FullyShardedDataParallelPlugin()
    plugin.set_mixed_precision("bf16")
    sum_exactly(plugin)
    policy = plugin.mixed_precision_policy
    assert (policy.param_dtype, policy.reduce_dtype, policy.output_dtype) == (
        torch.bfloat16,
        torch.float32,
        None,
    )
    for sharding, at_once in (("fsdp2", {"sync_each_batch": True}), ("ddp", None)):
        settings = together(sharding=sharding).resolve("cpu")
        run = Run(settings, [], lay_out([8] * 12, settings), tmp_path)
        assert trainer_arguments(run).accelerator_config.gradient_accumulation_kwargs == at_once
