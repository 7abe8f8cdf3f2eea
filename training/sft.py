"""One supervised training on TRL's SFTTrainer, in process, that survives being killed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training import checkpoints, methods
from training.encode import Encoded, encode_pairs
from training.errors import TrainingError
from training.layout import lay_out
from training.process import keep_freed_memory, quiet, torch_threads, wait_passively
from training.publish import Base, Kind, write_model
from training.settings import TrainSettings
from training.views import Pair

if TYPE_CHECKING:
    from training.trainer import Run, StepEvent

LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes")


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished training: the folder to publish and what there is to say about it.

    `counts` holds pairs, dropped and truncated; `dropped` is (id, reason); `tokens` went through the model,
    repeats included; `seconds` is the time in optimiser steps, over all attempts; `parameters` holds all and
    trained; `settings` are the resolved ones, and `losses` is (step, loss).
    """

    folder: Path
    kind: Kind
    method: str
    steps: int
    losses: list[tuple[int, float]]
    counts: dict[str, int]
    dropped: list[tuple[str, str]]
    tokens: int
    seconds: float
    parameters: dict[str, int]
    versions: dict[str, str]
    settings: dict[str, Any]


def train(
    settings: TrainSettings,
    pairs: Sequence[Pair],
    base: Base,
    work: Path,
    on_step: Callable[[StepEvent], None] = lambda event: None,
    *,
    threads: int | None = None,
) -> Trained:
    """Train `base` on the completions of `pairs` and write the model to publish to `work / "model"`.

    Started again after a kill with the same settings, pairs and base, it goes on from the newest complete
    checkpoint in `work` and ends, on a CPU, with the very weights and losses of an undisturbed run. `threads`
    is torch's, None leaves its own choice. Raises TrainingError.
    """
    wait_passively()
    keep_freed_memory()
    settings = settings.resolve(methods.device())
    with quiet(), torch_threads(threads):
        from training.trainer import Run, build_trainer

        tokenizer = methods.load_tokenizer(base.path, settings)
        encoded = _encode(tokenizer, pairs, settings)
        layout = lay_out([len(example.input_ids) for example in encoded.examples], settings)
        folder = work / "checkpoints"
        versions = {name: version(name) for name in LIBRARIES}
        key = checkpoints.run_key(settings, pairs, f"{base.repo}@{base.sha}", versions)
        checkpoint = checkpoints.prepare(folder, key)
        seconds = checkpoints.seconds_before(checkpoint)
        run = Run(settings, encoded.examples, layout, folder, on_step, seconds)
        trainer = build_trainer(run, methods.load_base(base.path, settings), tokenizer)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        trained = _describe(run, trainer, encoded, work / "model", versions)
        write_model(trainer.accelerator.unwrap_model(trainer.model), base, settings, trained.folder)
    return trained


def _encode(tokenizer: Any, pairs: Sequence[Pair], settings: TrainSettings) -> Encoded:
    if not pairs:
        raise TrainingError(
            "there are no pairs to train on; look at what the stages before this one rejected"
        )
    encoded = encode_pairs(tokenizer, pairs, settings.max_length)
    share = len(encoded.dropped) / len(pairs)
    if share > settings.max_dropped_share or not encoded.examples:
        raise TrainingError(
            f"{len(encoded.dropped)} of {len(pairs)} pairs ({share:.0%}) have prompts of max_length "
            f"{settings.max_length} tokens or more and nothing left to train on; raise max_length, or "
            f"max_dropped_share (now {settings.max_dropped_share:.0%})"
        )
    return encoded


def _describe(run: Run, trainer: Any, encoded: Encoded, folder: Path, versions: dict[str, str]) -> Trained:
    settings, dropped = run.settings, encoded.dropped
    return Trained(
        folder=folder,
        kind="full" if settings.method == "full" else "merged" if settings.merge else "adapter",
        method=settings.method,
        steps=settings.steps,
        losses=[(entry["step"], entry["loss"]) for entry in trainer.state.log_history if "loss" in entry],
        counts={
            "pairs": len(encoded.examples) + len(dropped),
            "dropped": len(dropped),
            "truncated": encoded.truncated,
        },
        dropped=dropped,
        tokens=run.layout.all_tokens(),
        seconds=run.seconds,
        parameters=_parameters(trainer.model),
        versions=versions,
        settings=settings.model_dump(),
    )


def _parameters(model: Any) -> dict[str, int]:
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return {"all": int(model.num_parameters()), "trained": trained}
