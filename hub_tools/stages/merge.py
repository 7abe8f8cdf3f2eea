"""Merges an adapter into its base: a model that loads without peft, beside the adapter in its own repo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hub_tools.errors import DataError
from hub_tools.stages.registry import MODEL, Build, Input, Inputs, Model, Render, StageConfig, stage
from hub_tools.stages.train import read_evaluations


class MergeConfig(StageConfig):
    """Merging has no settings: the adapter says all."""


@stage(
    "merge", repo="merged", reads={"adapter": Input(MODEL, "train-final"), "base": Input(MODEL)}, writes=MODEL
)
def merge(config: MergeConfig, render: Render) -> Build:
    """A base with an adapter merged into its unquantised weights.

    It loads without peft; how it was trained, the adapter's own repo says.
    """

    def build(inputs: Inputs) -> Model:
        from training.errors import TrainingError
        from training.process import quiet
        from training.publish import MODEL_FILES, Base, write_merged

        base = Base(inputs.folder("base", MODEL_FILES), *inputs.published("base")[:2])
        inputs.tick(total=1, note=f"merging into {base.repo}")
        try:
            with quiet():
                merged = write_merged(base, inputs.folder("adapter"), inputs.work / "model")
        except TrainingError as error:
            raise DataError(f"stages.{inputs.name}: {inputs.node('adapter')}: {error}") from error
        inputs.tick(1)
        told = _told(inputs)
        held_out, samples = read_evaluations(inputs.folder("adapter")) if told else ([], [])
        return Model(
            folder=merged.folder,
            method="merged adapter",
            relation="finetune",
            library="transformers",
            settings=merged.settings,
            losses=[(int(step), float(loss)) for step, loss in told.get("losses", [])],
            counts=told.get("counts", {}),
            example_prompt=str(told.get("example_prompt", "")),
            parameters=merged.parameters,
            held_out=held_out,
            samples=samples,
        )

    return Build(build=build)


def _told(inputs: Inputs) -> Mapping[str, Any]:
    """Return what the adapter's statement records of its training; nothing where it has none."""
    try:
        return inputs.statement("adapter").run
    except DataError:
        return {}
