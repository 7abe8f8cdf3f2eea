"""The training stages: the backward, the forward and the final model, each a view of the pairs it reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, Field

from hub_tools.errors import DataError
from hub_tools.hub.trace import DROPPED
from hub_tools.records import Mixed, Seed
from hub_tools.stages.registry import MODEL, Build, Input, Inputs, Model, Render, StageConfig, stage
from training.settings import TrainSettings
from training.views import SEED_TAG, Pair, backward_pair, forward_pair

if TYPE_CHECKING:
    from training.events import StepEvent
    from training.sft import Trained

EVALUATIONS = "evaluations.json"  # the held-out losses and sample answers, beside the weights


class TrainConfig(TrainSettings, StageConfig):
    """Settings of a training; see `training.settings`."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FinalConfig(TrainConfig):
    """Settings of the final training."""

    merge: bool | None = Field(
        None,
        description="Publish the model with the adapter merged in; null does so, since such a model "
        "loads without "
        "peft. Only for lora and qlora.",
    )


@stage(
    "train-backward",
    repo="backward",
    reads={"pairs": Input(Seed, "seed"), "base": Input(MODEL)},
    writes=MODEL,
    prompts=("backward",),
)
def train_backward(config: TrainConfig, render: Render) -> Build:
    """A backward model: given a text, it writes the instruction that the text answers.

    It is a tool that makes training data, and no assistant.
    """
    view = pair_view("train-backward", render)
    return Build(build=lambda inputs: _train(config, inputs, view))


@stage(
    "train-forward",
    repo="forward",
    reads={"pairs": Input(Seed, "seed"), "base": Input(MODEL)},
    writes=MODEL,
)
def train_forward(config: TrainConfig, render: Render) -> Build:
    """A forward model: it follows instructions, and judges pairs.

    It was trained on human-written pairs alone, and the run asks it how well an answer fits its instruction.
    """
    view = pair_view("train-forward", render)
    return Build(build=lambda inputs: _train(config, inputs, view))


@stage(
    "train-final",
    repo="final",
    reads={"pairs": Input(Mixed, "mix"), "base": Input(MODEL)},
    writes=MODEL,
)
def train_final(config: FinalConfig, render: Render) -> Build:
    """The final model: trained on the mix of seed pairs and web pairs, each with its source's tag.

    The tag at the end of a message says which kind of answer is wanted.
    """
    if config.method != "full" and config.merge is None:
        config = config.model_copy(update={"merge": True})
    view = pair_view("train-final", render)
    return Build(build=lambda inputs: _train(config, inputs, view))


def pair_view(stage_name: str, render: Render) -> Callable[[Any], Pair]:
    """Return how a training stage reads one of its rows as a pair.

    Raises:
        KeyError: the stage trains on no pairs.
    """
    views: Mapping[str, Callable[[Any], Pair]] = {
        "train-backward": lambda row: backward_pair(render, row.id, row.instruction, row.response),
        "train-forward": lambda row: forward_pair(row.id, row.instruction, row.response, SEED_TAG),
        "train-final": lambda row: Pair(row.id, row.prompt, row.completion),
    }
    return views[stage_name]


def _train(config: TrainConfig, inputs: Inputs, view: Callable[[Any], Pair]) -> Model:
    """Train on the pairs that the inputs hold; the progress display counts optimiser steps."""
    from training.errors import TrainingError
    from training.needs import check_needs
    from training.publish import MODEL_FILES, Base
    from training.sft import train

    told = _Told(inputs, config.steps)
    try:
        check_needs(config)
        count = inputs.count("pairs")
        inputs.tick(total=config.steps, note=f"{count} pairs")
        pairs = [view(row) for row in inputs.rows("pairs")]
        repo, sha, _ = inputs.published("base")
        base = Base(inputs.folder("base", MODEL_FILES), repo, sha)
        trained = train(config, pairs, base, inputs.work, told.step, on_note=told.note, on_phase=told.phase)
    except TrainingError as error:
        raise DataError(f"stages.{inputs.name}: {error}") from error
    _list_dropped(trained.folder, trained.dropped)
    _list_evaluations(trained)
    adapter = trained.kind == "adapter"
    return Model(
        folder=trained.folder,
        method=trained.method,
        relation="adapter" if adapter else "finetune",
        library="peft" if adapter else "transformers",
        settings={
            **trained.settings,
            **_fixed(trained),
            "kind": trained.kind,
            "published_step": trained.chosen,
        },
        read=trained.counts["pairs"],
        rejects=_reasons(trained.dropped),
        losses=trained.losses,
        counts={
            **trained.counts,
            "tokens": trained.tokens,
            "trained parameters": trained.parameters["trained"],
        },
        example_prompt=_prompt(pairs[0]),
        parameters=trained.parameters["all"],
        notes=_chosen(trained),
        held_out=trained.held_out,
        samples=_answers([asdict(one) for one in trained.samples], trained.chosen),
        keep=_kept(config, inputs.work),
    )


def _kept(config: TrainConfig, work: Path) -> Sequence[str]:
    """Keep the weights of all steps that may be published instead, if there is a choice."""
    from training.checkpoints import FOLDER, leave_weights

    if len(config.candidates()) == 1:
        return []
    leave_weights(work / FOLDER, config.candidates())
    return [FOLDER]


def _fixed(trained: Trained) -> Mapping[str, Any]:
    """Return what no setting says of a training."""
    rounds = trained.settings["method"] == "full" and trained.settings["weights"] == "bfloat16"
    pairs = trained.counts["pairs"] - trained.counts["dropped"] - trained.counts.get("held out", 0)
    return {
        "epochs": round(trained.chosen * trained.settings["batch_size"] / max(pairs, 1), 2),
        "optimizer": f"AdamW{', states in 8 bits' if rounds else ''}, betas 0.9 and 0.999, epsilon 1e-8",
        "loss": "cross-entropy of the answer's tokens; the prompt's do not count",
    }


class _Told:
    """Shows each step beside the count of steps, and in lines of its own what happens between them."""

    def __init__(self, inputs: Inputs, steps: int) -> None:
        self._inputs = inputs
        self._steps = steps
        self._step = 0

    def step(self, event: StepEvent) -> None:
        parts = [f"loss {event.loss:.2f}", f"{event.tokens_per_second:,.0f} tok/s"]
        parts += [f"{event.mfu:.0%} MFU"] if event.mfu is not None else []
        # A training that goes on from a checkpoint counts from there, back from where it was perhaps.
        self._inputs.tick(event.step - self._step, note=" · ".join(parts), left=event.seconds_left)
        self._step = event.step

    def note(self, note: str) -> None:
        self._inputs.tick(line=note)

    def phase(self, phase: str) -> None:
        self._inputs.tick(note=phase, left=0.0 if self._step == self._steps else None)


def _chosen(trained: Trained) -> list[str]:
    """Say which step's weights are published and what they were chosen by, where there was a choice."""
    if not trained.held_out:
        return []
    losses = dict(trained.held_out)
    candidates = sorted({*trained.settings["keep_steps"], trained.steps})
    measured = ", ".join(f"{losses[step]:.3f} after step {step}" for step in candidates)
    count = trained.counts["held out"]
    return [
        f"Published are the weights of step {trained.chosen}; loss on {count} held-out pairs: {measured}."
    ]


def _answers(samples: Sequence[Mapping[str, Any]], step: int) -> list[Mapping[str, str]]:
    """Return what the published step answered to held-out prompts, beside what people or the data say."""
    return [
        {
            "id": one["id"],
            "prompt": one["prompt"],
            "the data": one["reference"],
            "the model": one["answer"],
        }
        for one in samples
        if one["step"] == step
    ]


def read_evaluations(folder: Path) -> tuple[list[tuple[int, float]], list[Mapping[str, str]]]:
    """Return the held-out losses and the published step's answers that lie beside a training's weights."""
    path = folder / EVALUATIONS
    if not path.exists():
        return [], []
    content = json.loads(path.read_text(encoding="utf-8"))
    losses = [(int(step), float(loss)) for step, loss in content["held_out_losses"]]
    return losses, _answers(content["samples"], content["published_step"])


def _list_evaluations(trained: Trained) -> None:
    """Put the held-out losses and the sample answers, which are untrusted text, beside the weights."""
    if trained.held_out:
        content = {
            "published_step": trained.chosen,
            "held_out_losses": trained.held_out,
            "samples": [asdict(sample) for sample in trained.samples],
        }
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        (trained.folder / EVALUATIONS).write_text(text, encoding="utf-8")


def _list_dropped(folder: Path, dropped: Sequence[tuple[str, str]]) -> None:
    """Name every pair that the model was not trained on, beside its weights."""
    if dropped:
        lines = [json.dumps({"id": row_id, "reason": reason}) + "\n" for row_id, reason in dropped]
        (folder / DROPPED).write_text("".join(lines), encoding="utf-8")


def _reasons(dropped: Sequence[tuple[str, str]]) -> Mapping[str, int]:
    reasons = [reason for _, reason in dropped]
    return {reason: reasons.count(reason) for reason in sorted(set(reasons))}


def _prompt(pair: Pair) -> str:
    return "\n".join(f"{message['role']}: {message['content']}" for message in pair.prompt)
