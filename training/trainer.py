"""TRL's SFTTrainer as this project sets it up. Imports torch and TRL: import it where a training starts."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from training import checkpoints, methods
from training.encode import Example
from training.errors import TrainingError
from training.layout import Layout
from training.settings import TrainSettings


@dataclass(frozen=True, slots=True)
class StepEvent:
    """One finished optimiser step; `loss` is the mean over its trained tokens, padding counts as no token."""

    step: int
    total: int
    loss: float
    tokens_per_second: float


@dataclass(slots=True)
class Run:
    """What one training is about: resolved settings, examples and layout, and where checkpoints go."""

    settings: TrainSettings
    examples: list[Example]
    layout: Layout
    folder: Path
    on_step: Callable[[StepEvent], None]
    seconds: float

    def pair_ids(self, step: int) -> list[str]:
        """Return the ids of the pairs of one step, counted from 1."""
        return sorted({self.examples[index].id for index in self.layout.pairs(step)})


class Watch(TrainerCallback):  # type: ignore[misc]
    """Reports every step, stops a run whose loss is lost, and declares checkpoints complete."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.began = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the step's clock."""
        self.began = time.perf_counter()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        """Take the step's loss; the trainer logs once more, without one, when it ends."""
        if "loss" not in logs:
            return
        took = time.perf_counter() - self.began
        self.run.seconds += took
        step, loss = state.global_step, logs["loss"]
        if not math.isfinite(loss):
            raise TrainingError(_lost(loss, step, self.run))
        self.run.on_step(StepEvent(step, state.max_steps, loss, self.run.layout.tokens(step) / took))

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Mark the checkpoint that has just been written."""
        checkpoints.mark_complete(self.run.folder / f"checkpoint-{state.global_step}", self.run.seconds)


def build_trainer(run: Run, model: Any, tokenizer: Any) -> SFTTrainer:
    """Return the trainer for a base model that was loaded for these settings; the adapter is put on here."""
    trainer = SFTTrainer(
        model=model,
        args=_arguments(run),
        train_dataset=_packs(run) if run.settings.packing else _rows(run),
        processing_class=tokenizer,
        peft_config=methods.adapter(run.settings, model),
        callbacks=[Watch(run)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.create_model_card = lambda **_: (
        None
    )  # else written at every checkpoint, with the base's local path
    methods.float32_adapters(trainer.model)
    return trainer


def _arguments(run: Run) -> SFTConfig:
    settings = run.settings
    on_cpu = methods.device() == "cpu"
    return SFTConfig(
        output_dir=str(run.folder),
        max_steps=settings.steps,
        per_device_train_batch_size=1 if settings.packing else settings.micro_batch,
        gradient_accumulation_steps=run.layout.accumulation,
        train_sampling_strategy="sequential",  # the layout has shuffled already
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.scheduler,
        warmup_steps=settings.warmup,  # below 1 it is a share of the steps
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        optim="adamw_torch_fused",
        max_length=None,  # encode_pairs has cut already
        padding_free=settings.packing,
        gradient_checkpointing=settings.gradient_checkpointing,
        use_cpu=on_cpu,
        bf16=not on_cpu,
        seed=settings.seed,
        data_seed=settings.seed,
        save_steps=settings.save_steps,
        save_total_limit=2,  # the older one stays until the newer one is complete
        logging_steps=1,
        logging_nan_inf_filter=False,  # a lost run must be seen, not smoothed over
        disable_tqdm=True,
        report_to="none",
    )


def _rows(run: Run) -> Dataset:
    """Return one row a pair, in training order."""
    rows = [{"input_ids": example.input_ids, "labels": example.labels} for example in run.examples]
    order = [index for step in run.layout.steps for micro in step for index in micro]
    return Dataset.from_list(rows).select(order)


def _packs(run: Run) -> Dataset:
    """Return one row a pack, with its pairs' lengths, from which the collator restarts the positions."""

    def pack(micro: list[int]) -> dict[str, list[int]]:
        chosen = [run.examples[index] for index in micro]
        return {
            "input_ids": [token for example in chosen for token in example.input_ids],
            "labels": [label for example in chosen for label in example.labels],
            "seq_lengths": [len(example.input_ids) for example in chosen],
        }

    return Dataset.from_list([pack(micro) for step in run.layout.steps for micro in step])


def _lost(loss: float, step: int, run: Run) -> str:
    ids = run.pair_ids(step)
    named = ", ".join(ids[:8]) + (" …" if len(ids) > 8 else "")
    rate = run.settings.learning_rate
    return (
        f"the loss is {loss} at step {step}; lower learning_rate (now {rate:g}) or look at its pairs: {named}"
    )
