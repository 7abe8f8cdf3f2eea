"""One supervised training on TRL's SFTTrainer that survives being killed, and memory that runs out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training import checkpoints, methods, slurm
from training.encode import Encoded, encode_pairs
from training.errors import NotCompiled, OutOfMemory, TrainingError
from training.events import StepEvent, Watcher, ignore
from training.failures import explained, release_gpu, release_memory, written_whole
from training.heldout import split
from training.job import Job, library_versions
from training.layout import lay_out
from training.needs import check_needs
from training.process import (
    grow_segments,
    keep_freed_memory,
    plainly_on_cpu,
    quiet,
    torch_threads,
    wait_passively,
)
from training.publish import Base, write_model
from training.result import Trained, describe
from training.settings import TrainSettings
from training.views import Pair

if TYPE_CHECKING:
    from training.watch import Run

__all__ = ["Job", "Trained", "fit", "train"]


def train(
    settings: TrainSettings,
    pairs: Sequence[Pair],
    base: Base,
    work: Path,
    on_step: Callable[[StepEvent], None] = ignore,
    *,
    on_note: Callable[[str], None] = ignore,
    on_phase: Callable[[str], None] = ignore,
    threads: int | None = None,
) -> Trained:
    """Train `base` on the completions of `pairs` and write the model to publish to `work / "model"`.

    Started again after a kill with the same settings, pairs and base, it goes on from the newest complete
    checkpoint in `work` and ends, on a CPU, with the very weights and losses of an undisturbed run. Where
    memory runs out, it goes on with a smaller micro-batch of the same step, and says so in a note. `threads`
    is torch's, None leaves its own choice. Raises TrainingError.
    """
    from training.launch import launch

    check_needs(settings)
    wait_passively()
    grow_segments()
    keep_freed_memory()
    job = Job(fitted(settings, base), pairs, base, work, threads)
    watcher = Watcher(on_step, on_note, on_phase)
    if trained := _trained_before(job, watcher):
        return trained
    attempt = launch if settings.processes > 1 else fit
    if settings.processes == 1 and (machines := slurm.machines()) > 1:
        on_note(
            f"1 process trains, though Slurm has allocated {machines} machines; set processes to their GPUs"
        )
    release_gpu()  # of a training before, in this process
    while True:
        try:
            return _written(attempt(job, watcher), job, watcher)
        except OutOfMemory as error:
            job = _smaller(job, str(error))
            how = " with gradient_checkpointing" if job.settings.gradient_checkpointing else ""
            note = (
                f"out of memory: now micro_batch {job.settings.micro_batch}{how}, the same pairs in each step"
            )
        except NotCompiled as error:
            if not job.settings.compile_layers:
                raise TrainingError(
                    f"{error}, as the optimizer of bfloat16 weights must be; set weights to float32"
                ) from None
            job = replace(job, settings=job.settings.model_copy(update={"compile_layers": False}))
            note = f"{error}; layers stay as they are, slower"
        except KeyboardInterrupt as stop:
            stop.args = (_left_at(job),)
            raise
        on_note(note)
        release_memory()  # of the failed attempt


def _left_at(job: Job) -> str:
    """Say where a training goes on that is stopped now."""
    newest = checkpoints.newest(job.checkpoints)
    if newest is None:
        first = min(job.settings.candidates()[0], job.settings.save_steps)
        return (
            f"no checkpoint yet, the first is due at step {first} or after {job.settings.save_minutes:g} min"
        )
    return f"the checkpoint of step {checkpoints.step_of(newest)} stays"


def _trained_before(job: Job, watcher: Watcher) -> Trained | None:
    """Write the model of a training that has ended before, of another step perhaps; None where none has."""
    outcome = checkpoints.finished(job.checkpoints, job.key())
    if outcome is None:
        return None
    trained = Trained.of(outcome).published_as(job.settings, job.work / "model")
    try:
        checkpoints.weights_at(job.checkpoints, trained.chosen)
    except TrainingError as error:
        watcher.on_note(f"the training has ended before, but {error}")
        return None
    return _written(trained, job, watcher)


def fitted(settings: TrainSettings, base: Base) -> TrainSettings:
    """Fill in what the settings leave open: for a known GPU and base what is fastest and has room."""
    from training.devices import gpu_here
    from training.fitting import choose
    from training.shapes import read_shape

    device = methods.device()
    gpu = gpu_here() if device == "cuda" else None
    if gpu:
        with suppress(
            TrainingError
        ):  # an architecture that forecasts do not know, say: it may train all the same
            if settings.compile_layers is None and not methods.can_compile():
                settings = settings.model_copy(update={"compile_layers": False})
            settings = choose(settings, read_shape(base.path), gpu)
    if settings.attention is None and not methods.sees_all_before(base.path):
        settings = settings.model_copy(update={"attention": "sdpa"})
    return settings.resolve(device)


def _smaller(job: Job, reason: str) -> Job:
    settings = job.settings.smaller()
    if settings is None:
        raise TrainingError(
            f"{reason}; micro_batch is 1 already, and gradient_checkpointing on: lower max_length (now "
            f"{job.settings.max_length}), or take method qlora"
        )
    return replace(job, settings=settings)


def fit(job: Job, watcher: Watcher) -> Trained:
    """Train in this process, which may be one of several that accelerate has started; the weights stay in the
    checkpoints, for the one that started them all to write.

    Raises OutOfMemory where the micro-batch does not fit, and TrainingError.
    """
    with quiet(), torch_threads(job.threads), plainly_on_cpu(bool(job.settings.compile_layers)):
        tokenizer = methods.load_tokenizer(job.base.path, job.settings)
        pairs, held_out = split(job.pairs, job.settings.held_out)
        watcher.on_phase(f"encoding {len(pairs):,} pairs")
        encoded = _encode(tokenizer, pairs, job.settings)
        watcher.on_phase(f"loading {job.base.repo}")
        with explained(job.checkpoints):
            trained, main = _fit(job, watcher, tokenizer, encoded, held_out)
        if main:
            with written_whole():
                checkpoints.finish(job.checkpoints, trained.record())
    return trained


def _fit(
    job: Job, watcher: Watcher, tokenizer: Any, encoded: Encoded, held_out: list[Pair]
) -> tuple[Trained, bool]:
    """Run the trainer and return the result, and whether this is the process that writes it."""
    from training.trainer import build_trainer, trainer_arguments

    several = job.settings.processes > 1  # then the process that started them has looked through the folder
    checkpoint = checkpoints.newest(job.checkpoints) if several else job.newest_checkpoint(watcher.on_note)
    run = _run(job, watcher, tokenizer, encoded, held_out)
    run.seconds = checkpoints.seconds_before(checkpoint)
    arguments = trainer_arguments(run)  # before the base: of connected processes one alone reads the weights
    trainer = build_trainer(run, methods.load_base(job.base.path, job.settings), tokenizer, arguments)
    run.start(trainer, checkpoint)
    with methods.layers_put_back(trainer.model):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return describe(run, trainer, encoded, held_out, job.work / "model", library_versions()), run.main


def _run(job: Job, watcher: Watcher, tokenizer: Any, encoded: Encoded, held_out: list[Pair]) -> Run:
    from training.samples import Sampler
    from training.watch import Run

    settings = job.settings
    asked = held_out[: settings.samples]
    return Run(
        settings,
        encoded.examples,
        lay_out([len(example.input_ids) for example in encoded.examples], settings),
        job.checkpoints,
        watcher.on_step,
        held_out=_measurable(tokenizer, held_out, settings),
        sampler=Sampler(tokenizer, asked, settings.sample_tokens) if asked else None,
        on_note=watcher.on_note,
        on_phase=watcher.on_phase,
    )


def _written(trained: Trained, job: Job, watcher: Watcher) -> Trained:
    """Write the chosen weights, which lie in their checkpoint, as the folder to publish.

    It must be where no processes are connected: ZeRO would split whatever one of them loads over all.
    """
    watcher.on_phase("writing the model")
    release_gpu()
    with quiet(), written_whole():
        checkpoint = checkpoints.weights_at(job.checkpoints, trained.chosen)
        model = methods.load_trained(checkpoint, job.settings)
        write_model(model, job.base, job.settings, trained.folder)
    return trained


def _encode(tokenizer: Any, pairs: Sequence[Pair], settings: TrainSettings) -> Encoded:
    if not pairs:
        raise TrainingError(
            "there are no pairs to train on; look at what the stages before this one rejected"
            + (f", or lower held_out (now {settings.held_out:g})" if settings.held_out else "")
        )
    encoded = encode_pairs(tokenizer, pairs, settings.max_length)
    share = len(encoded.dropped) / len(pairs)
    if share > settings.max_dropped_share or not encoded.examples:
        empty = sum(reason == "empty_completion" for _, reason in encoded.dropped)
        raise TrainingError(
            f"{len(encoded.dropped)} of {len(pairs)} pairs ({share:.0%}) have nothing to train on: "
            f"{len(encoded.dropped) - empty} have prompts of max_length {settings.max_length} tokens or "
            f"more, {empty} an empty completion; raise max_length, or max_dropped_share (now "
            f"{settings.max_dropped_share:.0%})"
        )
    return encoded


def _measurable(tokenizer: Any, held_out: list[Pair], settings: TrainSettings) -> list[Any]:
    if not held_out:
        return []
    examples = encode_pairs(tokenizer, held_out, settings.max_length).examples
    if not examples:
        raise TrainingError(
            f"none of the {len(held_out)} held-out pairs has anything to measure the loss on; raise held_out "
            f"(now {settings.held_out:g}) or max_length (now {settings.max_length})"
        )
    return examples
