"""A recipe of one training, for models that are trained outside a run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from hub_tools.errors import RecipeError
from hub_tools.recipe import HubSection, Recipe

ROLES = ("backward", "forward", "final")


def training_recipe(
    role: str,
    base: str,
    dataset: str,
    method: str,
    config: Path | None,
    overrides: Sequence[str],
    namespace: str | None,
    name: str,
) -> Recipe:
    """Return the recipe with one training node; `overrides` are settings of the training as key=value.

    Raises:
        RecipeError: an unknown role, or a settings file that cannot be read.
    """
    if role not in ROLES:
        raise RecipeError(f"{role!r} is no role; there are {', '.join(ROLES)}")
    settings = _settings(config) | {"method": method} | dict(_setting(override) for override in overrides)
    raw: dict[str, Any] = {
        "name": name,
        "namespace": namespace or dataset.partition("/")[0],
        "hub": {"endpoint": os.environ.get("HF_ENDPOINT") or HubSection().endpoint},
        "stages": {f"train-{role}": {"reads": {"pairs": dataset, "base": base}, **settings}},
    }
    return Recipe(config or Path("command line"), raw)


def _settings(config: Path | None) -> dict[str, Any]:
    if config is None:
        return {}
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{config}: cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"{config}: settings are a YAML mapping")
    return content


def _setting(override: str) -> tuple[str, Any]:
    key, separator, value = override.partition("=")
    if not separator:
        raise RecipeError(f"--set {override}: write it as key=value, such as steps=100")
    return key, yaml.safe_load(value)
