"""What breaks trainings from outside: memory, disk, network, and numbers that are lost."""

from __future__ import annotations

import gc
import resource
import socket
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from training_samples import make_pairs, quick

from training import checkpoints, devices, methods, sft
from training.errors import OutOfMemory, TrainingError
from training.failures import explained
from training.publish import Base
from training.settings import TrainSettings
from training.sft import train

STILL = {"attention_dropout": 0.0, "lora_dropout": 0.0}


def hook_base(monkeypatch: pytest.MonkeyPatch, hook: Callable[[Any], None]) -> None:
    """Let `hook` change every base model that is loaded."""
    load = methods.load_base

    def load_and_hook(*arguments: Any) -> Any:
        model = load(*arguments)
        hook(model)
        return model

    monkeypatch.setattr(methods, "load_base", load_and_hook)


def room_for(rows: int, after: int = 0) -> Callable[[Any], None]:
    """Run out of memory, after some forward passes, where more than `rows` pairs go through at once."""
    passes = []

    def forward(module: Any, arguments: Any, inputs: dict[str, Any]) -> None:
        passes.append(inputs["input_ids"].shape[0])
        if inputs["input_ids"].shape[0] > rows and len(passes) > after:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    return lambda model: model.register_forward_pre_hook(forward, with_kwargs=True)


def test_where_memory_runs_out_the_same_steps_go_on_in_smaller_parts(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    calm = train(quick("full", micro_batch=1, **STILL), make_pairs(12), base, tmp_path / "calm")
    hook_base(monkeypatch, room_for(1))
    notes, events = [], []
    settings = quick("full", micro_batch=4, **STILL)
    trained = train(settings, make_pairs(12), base, tmp_path / "work", events.append, on_note=notes.append)
    assert notes == [f"out of memory: now micro_batch {rows}, the same pairs in each step" for rows in (2, 1)]
    assert [event.step for event in events] == [1, 2, 3, 4]
    assert trained.settings["micro_batch"] == 1
    assert trained.losses == calm.losses


def test_an_attempt_that_ran_out_of_memory_is_gone_before_the_next(
    base: Base, work: Path, monkeypatch: pytest.MonkeyPatch
):
    models: list[weakref.ref[Any]] = []
    left: list[bool] = []

    def note_and_limit(model: Any) -> None:
        left.extend(one() is not None for one in models)
        models.append(weakref.ref(model))
        room_for(1)(model)

    hook_base(monkeypatch, note_and_limit)
    gc.disable()  # which would clean up at a time of its own
    try:
        train(quick("full", micro_batch=2, **STILL), make_pairs(12), base, work)
    finally:
        gc.enable()
    assert left == [False]


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: out of memory",
        "Triton Error [CUDA]: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ],
)
def test_memory_runs_out_in_cudas_libraries_too(tmp_path: Path, words: str):
    with pytest.raises(OutOfMemory, match="out of memory"), explained(tmp_path):
        raise RuntimeError(words)


def test_memory_that_runs_out_later_costs_no_finished_checkpoint(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    calm = train(quick("full", **STILL), make_pairs(12), base, tmp_path / "calm")
    hook_base(monkeypatch, room_for(1, after=5))  # two passes a step: in the third step
    events = []
    settings = quick("full", save_steps=2, **STILL)
    trained = train(settings, make_pairs(12), base, tmp_path / "work", events.append)
    assert [event.step for event in events] == [1, 2, 3, 4]
    for (_, one), (_, other) in zip(trained.losses, calm.losses, strict=True):
        assert one == pytest.approx(other, rel=1e-5)


def test_memory_too_small_for_one_pair_is_told_in_one_line(
    base: Base, work: Path, monkeypatch: pytest.MonkeyPatch
):
    hook_base(monkeypatch, room_for(0))
    notes = []
    with pytest.raises(TrainingError, match=r"out of memory.*lower max_length \(now 128\)") as caught:
        train(quick(micro_batch=1), make_pairs(8), base, work, on_note=notes.append)
    assert "\n" not in str(caught.value)
    assert len(notes) == 1
    assert "micro_batch 1 with gradient_checkpointing" in notes[0]


def test_a_known_gpu_gets_the_fastest_micro_batch_that_fits(base: Base, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(methods, "device", lambda: "cuda")
    monkeypatch.setattr(devices, "gpu_here", lambda: devices.gpu_named("H100"))
    chosen = sft.fitted(TrainSettings(method="full"), base)
    assert (chosen.micro_batch, chosen.gradient_checkpointing) == (16, False)  # a tiny model has all the room
    kept = sft.fitted(TrainSettings(method="full", micro_batch=2, gradient_checkpointing=True), base)
    assert (kept.micro_batch, kept.gradient_checkpointing) == (2, True)
    assert sft.fitted(TrainSettings(), Base(base.path / "nowhere", base.repo, base.sha)).micro_batch == 8


def test_lost_gradients_stop_the_run_at_its_last_good_checkpoint(
    base: Base, work: Path, monkeypatch: pytest.MonkeyPatch
):
    backward = []

    def lose(gradient: torch.Tensor) -> torch.Tensor | None:
        backward.append(1)
        return gradient * float("nan") if len(backward) > 4 else None  # two a step: in the third step

    hook_base(monkeypatch, lambda model: model.model.norm.weight.register_hook(lose))
    with pytest.raises(TrainingError) as caught:
        train(quick("full", save_steps=1), make_pairs(12), base, work)
    message = str(caught.value)
    assert message.startswith("the gradient's norm is nan at step 3; lower learning_rate (now 0.005)")
    assert "pair00" in message
    assert message.endswith("the checkpoint of step 2 stays")
    assert "\n" not in message
    assert checkpoints.newest(work / "checkpoints") == work / "checkpoints" / "checkpoint-2"


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_full_disk_costs_only_the_checkpoint_that_did_not_fit(base: Base, work: Path, method: str):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_disk(event: Any) -> None:
        if event.step == 4:
            resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, before[1]))

    settings = quick(method, steps=6, save_steps=2)
    try:
        with pytest.raises(TrainingError) as caught:
            train(settings, make_pairs(12), base, work, fill_disk)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(caught.value).startswith("the checkpoint of step 4 could not be written (")
    assert str(caught.value).endswith("free room on the disk and start again: it goes on from step 2")
    assert "\n" not in str(caught.value)
    assert {path.name for path in (work / "checkpoints").glob("checkpoint-*")} == {"checkpoint-2"}
    events = []
    train(settings, make_pairs(12), base, work, events.append)
    assert [event.step for event in events] == [3, 4, 5, 6]


def test_a_lost_process_is_not_taken_for_a_full_disk(tmp_path: Path):
    (tmp_path / "checkpoint-4").mkdir()  # which another process was about to write
    with pytest.raises(RuntimeError, match="Connection reset by peer"), explained(tmp_path):
        raise RuntimeError("gloo/transport/tcp/pair.cc:537] Read error: Connection reset by peer")


def test_a_disk_too_full_for_the_model_costs_no_training(
    base: Base, work: Path, monkeypatch: pytest.MonkeyPatch
):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    write = sft.write_model

    def write_on_full_disk(*arguments: Any) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, before[1]))
        write(*arguments)

    monkeypatch.setattr(sft, "write_model", write_on_full_disk)
    try:
        with pytest.raises(TrainingError, match=r"model could not be written .*free room") as caught:
            train(quick("full"), make_pairs(8), base, work)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(caught.value)
    assert not (work / "model").exists()
    monkeypatch.setattr(sft, "write_model", write)
    events = []
    train(quick("full"), make_pairs(8), base, work, events.append)
    assert events == []


@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
def test_a_training_needs_no_network(base: Base, work: Path, monkeypatch: pytest.MonkeyPatch, method: str):
    asked = []

    def connect(self: socket.socket, address: Any) -> None:
        asked.append(address)
        raise OSError("the network is gone")

    monkeypatch.setattr(socket.socket, "connect", connect)
    train(quick(method, held_out=2, sample_tokens=2), make_pairs(8), base, work)
    assert asked == []
