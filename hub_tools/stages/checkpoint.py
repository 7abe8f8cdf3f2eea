"""Publishes a model that was trained elsewhere, with what its publisher knows of it."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from hub_tools.errors import DataError
from hub_tools.records import Row
from hub_tools.stages.registry import MODEL, Build, Input, Inputs, Model, Render, StageConfig, stage

TOLD = (
    "It was trained elsewhere. What this page says of its base and its data is what its publisher says; "
    "backforth has checked that the weights fit the base, and has not seen the training."
)


class CheckpointConfig(StageConfig):
    """Which files to publish, and what is known of them."""

    source: str = Field(description="The files of one model, a glob such as out/checkpoint-900/*.")
    license: str | None = Field(
        None, description="The model's own licence, as the Hub names it; null where its base's is all."
    )

    def files(self) -> Sequence[str]:
        """Return the checkpoint's files."""
        return (self.source,)


@stage("checkpoint", reads={"base": Input(MODEL)}, writes=MODEL)
def checkpoint(config: CheckpointConfig, render: Render) -> Build:
    """A model that was trained elsewhere: a folder of safetensors, whole or an adapter."""
    return Build(build=lambda inputs: _build(config, inputs))


@stage("checkpoint-of", reads={"base": Input(MODEL), "pairs": Input(Row)}, writes=MODEL)
def checkpoint_of(config: CheckpointConfig, render: Render) -> Build:
    """A model that was trained elsewhere, on a dataset that is published."""
    return Build(build=lambda inputs: _build(config, inputs))


def _build(config: CheckpointConfig, inputs: Inputs) -> Model:
    from training.adopt import adopt
    from training.errors import TrainingError
    from training.process import quiet
    from training.publish import BASE_FILES, Base

    repo, sha, _ = inputs.published("base")
    source = inputs.files()[0].parent
    base = Base(inputs.folder("base", BASE_FILES), repo, sha)
    try:
        with quiet():
            adopted = adopt(source, base, inputs.work / "model")
    except TrainingError as error:
        raise DataError(f"stages.{inputs.name}: {error}") from error
    adapter = adopted.kind == "adapter"
    return Model(
        folder=adopted.folder,
        method="LoRA, trained elsewhere" if adapter else "trained elsewhere",
        relation="adapter" if adapter else "finetune",
        library="peft" if adapter else "transformers",
        settings={"kind": adopted.kind},
        losses=adopted.losses,
        parameters=adopted.parameters,
        license=config.license,
        notes=[TOLD],
    )
