"""What the training stages hand on to the card and to the repo."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from training_samples import make_pairs, quick

from hub_tools.errors import DataError
from hub_tools.records import Seed
from hub_tools.stages.train import TrainConfig, train_forward
from training.publish import Base


@dataclass
class Inputs:
    """Seed rows and a base as a runner gives them."""

    base: Base
    work: Path
    name: str = "train-forward"
    notes: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    done: int = 0

    def rows(self, name: str) -> Iterator[Seed]:
        for pair in make_pairs(12):
            yield Seed(
                id=pair.id,
                source="made-up",
                url=None,
                license=None,
                instruction=pair.prompt[0]["content"],
                response=pair.completion[0]["content"],
                lang="en",
                rank=0,
                tree_id=pair.id,
            )

    def count(self, name: str) -> int:
        return 12

    def folder(self, name: str, patterns: Sequence[str]) -> Path:
        return self.base.path

    def published(self, name: str) -> tuple[str, str, str]:
        return self.base.repo, self.base.sha, "v1"

    def tick(self, done: int = 0, *, note: str = "", line: str = "", left: float | None = None, **_: Any):
        self.done += done
        self.notes += [note + (" with time left" if left else "")] * bool(note)
        self.lines += [line] * bool(line)


def config(**changes: object) -> TrainConfig:
    return TrainConfig(**quick("lora", **changes).model_dump())


def test_held_out_losses_and_samples_are_published_beside_the_weights(base: Base, work: Path):
    inputs = Inputs(base, work)
    model = train_forward(config(held_out=3, keep_steps=[2], eval_steps=2, sample_tokens=4), None).build(
        inputs
    )
    told = json.loads((model.folder / "evaluations.json").read_text())
    losses = dict(told["held_out_losses"])
    assert list(losses) == [2, 4]
    assert told["published_step"] == model.settings["published_step"] == min(losses, key=losses.__getitem__)
    assert len(told["samples"]) == 6
    assert set(told["samples"][0]) == {"step", "id", "prompt", "reference", "answer"}
    assert model.notes == [
        f"Published are the weights of step {told['published_step']}; loss on 3 held-out pairs: "
        f"{losses[2]:.3f} after step 2, {losses[4]:.3f} after step 4."
    ]
    assert model.counts["held out"] == model.rejects["held_out"] == 3
    assert model.read == 12
    listed = [json.loads(line) for line in (model.folder / "dropped_pairs.jsonl").read_text().splitlines()]
    assert [line["reason"] for line in listed] == ["held_out"] * 3
    assert model.keep == ["checkpoints"]
    kept = {path.name for path in (work / "checkpoints").rglob("*.*")}
    assert "adapter_model.safetensors" in kept
    assert not kept & {"optimizer.pt", "scheduler.pt", "rng_state.pth"}


def test_progress_tells_what_goes_on_and_what_each_evaluation_found(base: Base, work: Path):
    inputs = Inputs(base, work)
    train_forward(config(held_out=3, eval_steps=3, samples=1, sample_tokens=4), None).build(inputs)
    told = [note.split(" ")[0] for note in inputs.notes]
    assert told == [
        "12",
        "encoding",
        "loading",
        "loss",
        "loss",
        "loss",
        "measuring",
        "loss",
        "measuring",
        "saving",
        "writing",
    ]
    assert "tok/s with time left" in inputs.notes[3]
    assert inputs.done == 4
    losses = [line for line in inputs.lines if "held-out loss" in line]
    assert [line.split(":")[0] for line in losses] == ["step 3", "step 4"]
    answers = [line for line in inputs.lines if "gets" in line]
    assert len(answers) == 2
    assert all(line.endswith('done"') for line in answers)


def test_without_held_out_pairs_nothing_is_said_of_them(base: Base, work: Path):
    model = train_forward(config(), None).build(Inputs(base, work))
    assert model.notes == model.keep == []
    assert not (model.folder / "evaluations.json").exists()
    assert "held out" not in model.counts


def test_a_training_that_fails_names_its_node(base: Base, work: Path):
    with pytest.raises(DataError, match=r"stages\.train-forward: 12 of 12 pairs"):
        train_forward(config(max_length=16), None).build(Inputs(base, work))
