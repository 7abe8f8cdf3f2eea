"""Recipes of one model each: trained outside a run, or trained elsewhere and only published here."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from hub_tools.errors import RecipeError
from hub_tools.recipe import HubSection, Recipe, RecipeFile, parse
from hub_tools.run.graph import WIRING
from hub_tools.stages.registry import get_stage
from training.names import ELSEWHERE

ROLES = ("backward", "forward", "final")


def training_recipe(
    role: str,
    base: str,
    dataset: str,
    method: str | None,
    config: Path | None,
    overrides: Sequence[str],
    namespace: str | None,
    name: str,
) -> Recipe:
    """Return the recipe with one training node; `overrides` are settings of the training as key=value.

    A final model that is trained as an adapter becomes two repos, the adapter and the model with it merged
    in, unless the settings say which of them with `merge`.

    Raises:
        RecipeError: an unknown role, or a settings file that cannot be read or is for another method.
    """
    if role not in ROLES:
        raise RecipeError(f"{role!r} is no role; there are {', '.join(ROLES)}")
    settings = _settings(config)
    if method and settings.get("method", method) != method:
        raise RecipeError(
            f"--method is {method}, but {config} is for method {settings['method']}; name that method (on "
            f"make's command line METHOD={settings['method']}), or settings for {method}"
        )
    settings = {"method": method or "qlora"} | settings | dict(_setting(override) for override in overrides)
    for key in settings:
        if key in ELSEWHERE:
            raise RecipeError(f"{config or '--set'}: {key} is TRL's word; here it is {ELSEWHERE[key]}")
    _check(role, settings, "--set" if overrides else str(config or "--method"))
    training = {"reads": {"pairs": dataset, "base": base}, **settings}
    stages = {f"train-{role}": training}
    if role == "final" and settings["method"] != "full" and settings.get("merge") is None:
        named = {"repo": settings["repo"]} if "repo" in settings else {}
        adapter = {"repo": f"{settings['repo']}-adapter"} if named else {}
        stages = {
            "train-final-adapter": {"stage": "train-final", **training, "merge": False, **adapter},
            "final": {"stage": "merge", "reads": {"adapter": "train-final-adapter", "base": base}, **named},
        }
    raw = _raw(name, namespace or dataset.partition("/")[0], stages)
    return Recipe(config or Path("command line"), raw)


def checkpoint_recipe(
    files: Sequence[Path], staging: Path, repo: str, base: str, dataset: str | None, license_: str | None
) -> Recipe:
    """Return the recipe that publishes a checkpoint as `repo`; links to its files are put into `staging`.

    Raises:
        RecipeError: `repo` is not namespace/name.
    """
    namespace, slash, name = repo.partition("/")
    if not (namespace and slash and name) or "/" in name or "@" in name:
        raise RecipeError(f"--repo {repo!r}: write it as namespace/name")
    for path in files:
        (staging / path.name).symlink_to(path.resolve())
    reads = {"base": base, **({"pairs": dataset} if dataset else {})}
    node = {
        "stage": "checkpoint-of" if dataset else "checkpoint",
        "repo": name,
        "reads": reads,
        "source": f"{glob.escape(str(staging))}/*",
        "license": license_,
    }
    raw = _raw("publish-model", namespace, {"checkpoint": node})
    work = f"{RecipeFile.model_fields['work'].default}/{name}"  # so that several may be published at once
    return Recipe(Path("command line"), raw | {"languages": [], "work": work})


def _raw(name: str, namespace: str, stages: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe for the Hub of HF_ENDPOINT."""
    hub = {"endpoint": HubSection().endpoint}
    return {"name": name, "namespace": namespace, "hub": hub, "stages": stages}


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


def _check(role: str, settings: Mapping[str, Any], where: str) -> None:
    """Refuse what the training does not take, by the key that was typed and not by that of a recipe."""
    own = {key: value for key, value in settings.items() if key not in WIRING}
    parse(get_stage(f"train-{role}", where).config, own, where, "")


def _setting(override: str) -> tuple[str, Any]:
    key, separator, value = override.partition("=")
    if not separator:
        raise RecipeError(f"--set {override}: write it as key=value, such as steps=100")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {override}: the value is not YAML; put it in quotes") from error
