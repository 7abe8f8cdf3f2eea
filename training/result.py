"""A finished training: what was chosen, and what there is to say about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.encode import Encoded
from training.publish import Kind
from training.samples import Sample, told
from training.settings import TrainSettings
from training.views import Pair

if TYPE_CHECKING:
    from training.watch import Run


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished training: the folder to publish and what there is to say about it.

    `counts` holds pairs, dropped, truncated and, if any, held out; `dropped` is (id, reason) of every pair
    that was not trained on, the held-out ones too; `tokens` went through the model, repeats included;
    `seconds` is the time in optimiser steps, over all attempts; `parameters` holds all and trained;
    `settings` are the resolved ones; `losses` and `held_out` are (step, loss), and `chosen` is the step whose
    weights the folder holds.
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
    held_out: list[tuple[int, float]]
    chosen: int
    samples: list[Sample]

    def record(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it."""
        return asdict(self) | {"folder": str(self.folder)}

    def published_as(self, settings: TrainSettings, folder: Path) -> Trained:
        """Return this training with what other settings of the same run publish of it, in another folder."""
        return replace(
            self,
            folder=folder,
            kind=kind_of(settings),
            chosen=choose(settings, dict(self.held_out)),
            settings=self.settings | settings.model_dump(include={"merge", "publish_step", "save_steps"}),
        )

    @classmethod
    def of(cls, record: dict[str, Any]) -> Trained:
        """Return what `record` gave."""
        pairs = {key: [tuple(entry) for entry in record[key]] for key in ("losses", "held_out", "dropped")}
        samples = [Sample(**sample) for sample in record["samples"]]
        return cls(**record | pairs | {"folder": Path(record["folder"]), "samples": samples})


def describe(
    run: Run,
    trainer: Any,
    encoded: Encoded,
    held_out: list[Pair],
    folder: Path,
    versions: dict[str, str],
) -> Trained:
    """Describe a training that has ended; its weights are to be written to `folder`."""
    settings, history = run.settings, trainer.state.log_history
    losses = [(entry["step"], entry["eval_loss"]) for entry in history if "eval_loss" in entry]
    dropped = [*encoded.dropped, *((pair.id, "held_out") for pair in held_out)]
    return Trained(
        folder=folder,
        kind=kind_of(settings),
        method=settings.method,
        steps=settings.steps,
        losses=[(entry["step"], entry["loss"]) for entry in history if "loss" in entry],
        counts={
            "pairs": len(encoded.examples) + len(dropped),
            "dropped": len(encoded.dropped),
            "truncated": encoded.truncated,
            **({"held out": len(held_out)} if held_out else {}),
        },
        dropped=dropped,
        tokens=run.layout.all_tokens(),
        seconds=run.seconds,
        parameters=run.parameters,
        versions=versions,
        settings=settings.model_dump(),
        held_out=losses,
        chosen=choose(settings, dict(losses)),
        samples=told(history, held_out),
    )


def kind_of(settings: TrainSettings) -> Kind:
    """Return what resolved settings publish."""
    if settings.method == "full":
        return "full"
    return "merged" if settings.merge else "adapter"


def choose(settings: TrainSettings, held_out: dict[int, float]) -> int:
    """Return the step to publish: the one that is set, else that of the lowest held-out loss."""
    if settings.publish_step is not None:
        return settings.publish_step
    candidates = [step for step in settings.candidates() if step in held_out]
    return min(candidates, key=lambda step: (held_out[step], step), default=settings.steps)
