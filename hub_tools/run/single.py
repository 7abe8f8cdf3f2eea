"""Recipes of one model each: trained outside a run, or trained elsewhere and only published here."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from hub_tools.errors import RecipeError
from hub_tools.recipe import HubSection, Recipe

ROLES = ("backward", "forward", "final")
# What TRL, PEFT and transformers call things, now or in earlier versions, and what they are called here.
NAMES = {
    "max_seq_length": "max_length",
    "max_steps": "steps",
    "num_train_epochs": "steps",
    "per_device_train_batch_size": "micro_batch",
    "gradient_accumulation_steps": "batch_size, the pairs of a whole step",
    "lr_scheduler_type": "scheduler",
    "warmup_ratio": "warmup",
    "warmup_steps": "warmup, a share of the steps",
    "eval_strategy": "eval_steps",
    "evaluation_strategy": "eval_steps",
    "activation_checkpointing": "gradient_checkpointing",
    "dtype": "weights",
    "torch_dtype": "weights",
    "attn_implementation": "attention",
    "use_peft": "method: lora",
    "load_in_4bit": "method: qlora",
    "lora_r": "lora_rank",
    "lora_target_modules": "lora_targets",
    "target_modules": "lora_targets",
    "report_to": "tracker",
    "model_name_or_path": "--base",
    "dataset_name": "--dataset",
}


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

    A final model that is trained as an adapter becomes two repos, the adapter and the model with it merged
    in, unless the settings say which of them with `merge`.

    Raises:
        RecipeError: an unknown role, or a settings file that cannot be read.
    """
    if role not in ROLES:
        raise RecipeError(f"{role!r} is no role; there are {', '.join(ROLES)}")
    settings = _settings(config) | {"method": method} | dict(_setting(override) for override in overrides)
    for key in settings:
        if key in NAMES:
            raise RecipeError(f"{config or '--set'}: {key} is TRL's word; here it is {NAMES[key]}")
    training = {"reads": {"pairs": dataset, "base": base}, **settings}
    stages = {f"train-{role}": training}
    if role == "final" and method != "full" and settings.get("merge") is None:
        stages = {
            "train-final-adapter": {"stage": "train-final", **training, "merge": False},
            "final": {"stage": "merge", "reads": {"adapter": "train-final-adapter", "base": base}},
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
    return Recipe(
        Path("command line"), _raw("publish-model", namespace, {"checkpoint": node}) | {"languages": []}
    )


def _raw(name: str, namespace: str, stages: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe for the Hub of HF_ENDPOINT."""
    endpoint = os.environ.get("HF_ENDPOINT") or HubSection().endpoint
    return {"name": name, "namespace": namespace, "hub": {"endpoint": endpoint}, "stages": stages}


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
