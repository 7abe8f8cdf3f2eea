"""TRL's SFTTrainer as this project sets it up. Imports torch and TRL: import it where a training starts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback
from trl import SFTConfig, SFTTrainer

from training import methods
from training.chance import RoundAlike
from training.compiled import FLOAT8_SIZE, evaluate_plainly, to_float8
from training.encode import Example
from training.needs import LIGER, installed
from training.settings import TrainSettings
from training.watch import Run, Watch

WAIT = 4 * 3600  # seconds that processes wait for the one that writes and digests a checkpoint
# Split gradients stay split: else each GPU would hold the sum over the micro-batches of all of them.
SUMMED_AT_ONCE = {"gradient_accumulation_kwargs": {"sync_each_batch": True}}


def build_trainer(run: Run, model: Any, tokenizer: Any, arguments: SFTConfig | None = None) -> SFTTrainer:
    """Return the trainer for a base model that was loaded for these settings; the adapter is put on here."""
    if run.settings.float8:
        to_float8(model)
    trainer = SFTTrainer(
        model=model,
        args=arguments or trainer_arguments(run),
        train_dataset=_dataset(run, [micro for step in run.layout.steps for micro in step], run.examples),
        eval_dataset=_dataset(run, [[index] for index in range(len(run.held_out))], run.held_out),
        processing_class=tokenizer,
        peft_config=methods.adapter(run.settings, model),
        callbacks=[Watch(run), *([RoundAlike()] if run.settings.rounds_by_chance else [])],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.create_model_card = lambda **_: (
        None
    )  # else written at every checkpoint, with the base's local path
    if run.settings.method != "full":
        methods.float32_adapters(trainer.model)
    if run.settings.compile_layers:
        evaluate_plainly(trainer)
    if run.settings.split and run.settings.sharding == "fsdp2":
        sum_exactly(trainer.accelerator.state.fsdp_plugin)
    return trainer


def sum_exactly(plugin: Any) -> None:
    """Let the gradients of weights that FSDP splits be summed in float32, as those of whole ones are, and
    leave outputs as they are: accelerate's own policy rounds the log-probabilities to bfloat16.
    """
    if plugin is not None and plugin.mixed_precision_policy is not None:
        exact = {"reduce_dtype": torch.float32, "output_dtype": None}
        plugin.mixed_precision_policy = replace(plugin.mixed_precision_policy, **exact)


def trainer_arguments(run: Run) -> SFTConfig:
    """Return TRL's form of the settings; making it connects the processes of a training that has several."""
    settings = run.settings
    on_cpu = methods.device() == "cpu"
    arguments = SFTConfig(
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
        **_optimizer(settings),
        max_length=None,  # encode_pairs has cut already
        padding_free=settings.padding_free,
        pad_to_multiple_of=FLOAT8_SIZE if settings.float8 else None,
        gradient_checkpointing=settings.gradient_checkpointing,
        activation_offloading=bool(settings.offload_activations) and not on_cpu,
        use_liger_kernel=not on_cpu and installed(LIGER) and not settings.compile_layers,
        ddp_find_unused_parameters=False,
        ddp_timeout=WAIT,
        accelerator_config=SUMMED_AT_ONCE if settings.split else None,
        use_cpu=on_cpu,
        bf16=not on_cpu,
        seed=settings.seed,
        data_seed=settings.seed,
        save_steps=settings.save_steps,
        per_device_eval_batch_size=1,  # so that the loss is a mean over pairs, however they are dealt out
        logging_steps=1,
        logging_nan_inf_filter=False,  # a lost run must be seen, not smoothed over
        disable_tqdm=True,
        report_to=_tracker(settings),
        project="backforth",
        run_name=run.folder.parent.name,  # else a tracker invents one
    )
    arguments._n_gpu = min(1, arguments.n_gpu)  # a process has one; TRL refuses to take all that it sees
    return arguments


def _optimizer(settings: TrainSettings) -> dict[str, Any]:
    if not settings.rounds_by_chance:
        return {"optim": "adamw_torch_fused"}
    return {"optim": "adamw_torch_8bit", "optim_args": "bf16_stochastic_round=True"}


def _tracker(settings: TrainSettings) -> str:
    if settings.tracker == "auto":
        return "trackio" if installed("trackio") else "none"
    return settings.tracker


def _dataset(run: Run, micros: list[list[int]], examples: list[Example]) -> Dataset | None:
    """Return the rows of micro-batches in their order: one a pack if packing, else one a pair."""
    if not micros:
        return None
    if run.settings.packing:
        return Dataset.from_list([_pack([examples[index] for index in micro]) for micro in micros])
    rows = [{"input_ids": example.input_ids, "labels": example.labels} for example in examples]
    return Dataset.from_list(rows).select([index for micro in micros for index in micro])


def _pack(examples: list[Example]) -> dict[str, list[int]]:
    """Return one row with its pairs' lengths, from which the collator restarts the positions."""
    return {
        "input_ids": [token for example in examples for token in example.input_ids],
        "labels": [label for example in examples for label in example.labels],
        "seq_lengths": [len(example.input_ids) for example in examples],
    }
