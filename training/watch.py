"""What happens around each step: reports, evaluations, checkpoints, and the stop of a run that is lost."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from training import checkpoints
from training.chance import random_state, set_random_state
from training.compiled import checkpoint_only, compile_layers
from training.encode import Example
from training.errors import TrainingError
from training.events import StepEvent, ignore
from training.layout import Layout
from training.samples import Sampler, quoted
from training.settings import TrainSettings
from training.throughput import Meter, meter


@dataclass(slots=True)
class Run:
    """What one training is about: resolved settings, examples and layout, and where checkpoints go.

    `seconds` grows with every step; `main` is the process that reports and writes, of several.
    """

    settings: TrainSettings
    examples: list[Example]
    layout: Layout
    folder: Path
    on_step: Callable[[StepEvent], None] = ignore
    seconds: float = 0.0
    held_out: list[Example] = field(default_factory=list)
    sampler: Sampler | None = None
    on_note: Callable[[str], None] = ignore
    on_phase: Callable[[str], None] = ignore
    meter: Meter = field(default_factory=Meter)
    main: bool = True
    parameters: dict[str, int] = field(default_factory=dict)

    def start(self, trainer: Any, checkpoint: Path | None) -> None:
        """Take from a trainer that is about to start what is known only then."""
        settings, done = self.settings, checkpoints.step_of(checkpoint) if checkpoint else 0
        self.main = trainer.is_world_process_zero()
        self.parameters = _parameters(trainer.model)
        tokens = self.layout.all_tokens(done)
        self.meter = meter(settings.method, self.parameters["all"], tokens, settings.processes)
        self.meter.evaluations_left = sum(map(settings.evaluates, range(done + 1, settings.steps + 1)))

    def pair_ids(self, step: int) -> list[str]:
        """Return the ids of the pairs of one step, counted from 1."""
        return sorted({self.examples[index].id for index in self.layout.pairs(step)})


class Watch(TrainerCallback):  # type: ignore[misc]
    """Reports every step, asks for evaluations, stops a lost run, and declares checkpoints complete."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.began = self.saved = 0.0
        self.random: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **found: Any) -> None:
        """Start the clock of checkpoints; let the layers keep their activations that are not to compute them
        again, where others are.
        """
        self.saved = time.monotonic()
        if self.run.settings.checkpointed_layers:
            checkpoint_only(found["model"], self.run.settings.checkpointed_layers)
        if self.run.settings.compile_layers:
            compile_layers(found["model"])

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the step's clock."""
        self.began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask for what is due after this step."""
        settings = self.run.settings
        control.should_evaluate = settings.evaluates(state.global_step)
        overdue = time.monotonic() - self.saved >= 60 * settings.save_minutes
        control.should_save |= _in_any_process(overdue, args.device)
        control.should_save |= state.global_step in settings.candidates()
        if control.should_evaluate:
            self.random = random_state()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        """Take the step's loss; evaluations and the end of the training are logged without one."""
        if "loss" not in logs:
            return
        run, step, loss = self.run, state.global_step, logs["loss"]
        took = time.perf_counter() - self.began
        run.seconds += took
        for name, value in (("loss", loss), ("gradient's norm", logs.get("grad_norm", 0.0))):
            if not math.isfinite(value):
                raise TrainingError(_lost(name, value, step, run))
        if run.main:
            run.on_step(_event(run, step, state.max_steps, loss, took))
        self.began = time.perf_counter()
        self._tell_phase(control)

    def _tell_phase(self, control: Any) -> None:
        """Say what comes before the next step and may take long."""
        if self.run.main and control.should_evaluate:
            self.run.on_phase("measuring the loss on held-out pairs")
        elif self.run.main and control.should_save:
            self.run.on_phase("saving a checkpoint")

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: dict[str, float], **found: Any
    ) -> None:
        """Report the held-out loss and let the model answer held-out prompts; both go into the checkpoint."""
        step, loss, answers = state.global_step, metrics["eval_loss"], {}
        if not math.isfinite(loss):
            raise TrainingError(_lost("held-out loss", loss, step, self.run))
        if self.run.sampler:
            answers = self.run.sampler.answers(found["model"])
            state.log_history.append({"step": step, "samples": answers})
        set_random_state(self.random)  # so that evaluations leave the training as it would be without them
        if self.run.main:
            self.run.meter.add_evaluation(time.perf_counter() - self.began)
            for note in [f"step {step}: held-out loss {loss:.3f}", *_told_samples(self.run, step, answers)]:
                self.run.on_note(note)
            self._tell_phase(control)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Mark the checkpoint that every process has just written its part of, and thin out older ones."""
        _wait_for_all()
        if self.run.main:
            folder, settings = self.run.folder, self.run.settings
            written = checkpoints.at_step(folder, state.global_step)
            checkpoints.mark_complete(written, self.run.seconds, checkpoints.split_of(settings))
            checkpoints.thin_out(folder, settings.candidates())
        self.saved = time.monotonic()


def _event(run: Run, step: int, total: int, loss: float, took: float) -> StepEvent:
    tokens = run.layout.tokens(step)
    run.meter.add(tokens, took)
    mfu = run.meter.mfu(tokens / took)
    return StepEvent(step, total, loss, tokens / took, mfu, run.meter.seconds_left())


def _told_samples(run: Run, step: int, answers: dict[str, str]) -> list[str]:
    """Return a line for each sample: the answer beside what the data has."""
    meant = run.sampler.references if run.sampler else {}
    return [
        f"step {step}: pair {id_} gets {quoted(answer)}, the data has {quoted(meant[id_])}"
        for id_, answer in answers.items()
    ]


def _parameters(model: Any) -> dict[str, int]:
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return {"all": int(model.num_parameters()), "trained": trained}


def _wait_for_all() -> None:
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.barrier()


def _in_any_process(it_is: bool, device: Any) -> bool:
    """Return whether it is so in one process at least: all write a checkpoint, or none."""
    import torch
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        return it_is
    count = torch.tensor(int(it_is), device=device)
    dist.all_reduce(count)
    return bool(count.item())


def _lost(name: str, value: float, step: int, run: Run) -> str:
    ids = run.pair_ids(step)
    named = ", ".join(ids[:8]) + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")
    last = checkpoints.newest(run.folder)
    kept = f"; the checkpoint of step {checkpoints.step_of(last)} stays" if last else ""
    return (
        f"the {name} is {value} at step {step}; lower learning_rate (now {run.settings.learning_rate:g}) or "
        f"look at its pairs: {named}{kept}"
    )
