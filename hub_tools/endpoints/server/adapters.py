"""Several LoRA adapters of one base in one process, chosen row by row (TGI's multi-LoRA)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hub_tools.endpoints.server.options import EndpointServerError
from hub_tools.endpoints.server.source import Source


def attach(network: Any, base: Source, sources: Mapping[str, Source]) -> tuple[Any, Mapping[str, str]]:
    """The base with every adapter loaded, and PEFT's internal name of each.

    Raises `EndpointServerError` for an adapter that was trained on another base or is no plain LoRA.
    """
    from peft import PeftModel

    # PEFT uses the name as a module's name, which may hold no dot; repository names may.
    names = {name: f"adapter_{number}" for number, name in enumerate(sources)}
    reserved = {"tgi", base.name} & set(names)
    if reserved:
        raise EndpointServerError(
            f"adapter {reserved.pop()}: this name means the base model; choose another."
        )
    for name, source in sources.items():
        _check(name, source, base)
    wrapped: Any = None
    for name, internal in names.items():
        folder = sources[name].folder
        try:
            if wrapped is None:
                wrapped = PeftModel.from_pretrained(network, folder, adapter_name=internal)
            else:
                wrapped.load_adapter(folder, adapter_name=internal)
        except (ValueError, RuntimeError, KeyError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise EndpointServerError(f"adapter {name} cannot be loaded: {reason}") from error
    return wrapped, names


def _check(name: str, source: Source, base: Source) -> None:
    config = json.loads((source.folder / "adapter_config.json").read_text())
    trained_on = config.get("base_model_name_or_path")
    if not _same_base(trained_on, base):
        raise EndpointServerError(
            f"adapter {name} was trained on {trained_on}, but {base.name} is served; serve that base instead."
        )
    if config.get("peft_type") != "LORA" or config.get("use_dora"):
        raise EndpointServerError(
            f"adapter {name} is no plain LoRA; merge it into its base and serve the result."
        )


def _same_base(trained_on: str | None, base: Source) -> bool:
    if not trained_on:
        return False
    return trained_on == base.name or Path(trained_on).resolve() == base.folder.resolve()
