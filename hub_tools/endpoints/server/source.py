"""Finds a model or adapter: a local folder, or a Hub repository pinned to one commit."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hub_tools.endpoints.server.options import EndpointServerError, ServerOptions

BASE_ALIASES = ("tgi", "dummy")  # what clients write for "the model you serve": TGI's users, huggingface_hub
_MODEL_FILES = ["*.json", "*.safetensors", "*.jinja", "*.model", "merges.txt", "vocab.txt"]
_ADAPTER_FILES = ["adapter_config.json", "adapter_model.safetensors"]


@dataclass(frozen=True)
class Source:
    """A folder with files, the name they go by, and the commit they came from (None for a local folder)."""

    folder: Path
    name: str
    sha: str | None


@dataclass(frozen=True)
class Sources:
    """What one server serves."""

    base: Source
    adapters: Mapping[str, Source]


def find_sources(options: ServerOptions) -> Sources:
    """Fetch and check the base and its adapters, before anything heavy is imported or loaded.

    Raises `EndpointServerError` for whatever is missing, no LoRA, or was trained on another base.
    """
    base = find_model(options.model, options.model_id)
    adapters = {name: find_adapter(name, reference) for name, reference in options.adapters.items()}
    for name, source in adapters.items():
        _check_adapter(name, source, base)
    return Sources(base, adapters)


def find_model(reference: str, model_id: str | None = None) -> Source:
    """The files of a model given as `namespace/name[@revision]` or as a local folder."""
    source = _find(reference, _MODEL_FILES, "model")
    if (source.folder / "adapter_config.json").is_file():
        raise EndpointServerError(f"model {reference} is an adapter; serve its base, and this as an adapter.")
    if not any(source.folder.glob("*.safetensors")):
        raise EndpointServerError(
            f"model {reference} has no safetensors weights; other formats are not loaded."
        )
    return Source(source.folder, model_id or source.name, source.sha)


def find_adapter(name: str, reference: str) -> Source:
    """The files of a LoRA adapter given as `namespace/name[@revision]` or as a local folder."""
    source = _find(reference, _ADAPTER_FILES, f"adapter {name}:")
    for file in _ADAPTER_FILES:
        if not (source.folder / file).is_file():
            raise EndpointServerError(f"adapter {name}: {reference} has no {file}.")
    return source


def _find(reference: str, files: list[str], what: str) -> Source:
    folder = Path(reference)
    if folder.is_dir():
        return Source(folder, reference, None)
    if reference.startswith(("/", "./", "../", "~")):
        raise EndpointServerError(f"{what} {reference} is no folder on this machine.")
    return _download(reference, files, what)


def _download(reference: str, files: list[str], what: str) -> Source:
    from huggingface_hub import HfApi, constants
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()  # in a log they are nothing but noise
    repo, _, revision = reference.removeprefix("hf://").partition("@")
    api = HfApi()
    try:
        sha = str(api.model_info(repo, revision=revision or None).sha)
        folder = api.snapshot_download(repo, revision=sha, allow_patterns=files)
    except Exception as error:  # the client lets its transport's own errors through, whichever that is
        raise EndpointServerError(
            f"{what} {reference} cannot be read from {constants.ENDPOINT}: {_reason(error)}"
        ) from error
    return Source(Path(folder), repo, sha)


def _reason(error: Exception) -> str:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, GatedRepoError):
        return "it is gated; ask for access on its page, and set HF_TOKEN to a token of yours."
    if isinstance(error, RevisionNotFoundError):
        return "there is no such revision."
    if isinstance(error, RepositoryNotFoundError):
        return "there is no such repository, or HF_TOKEN may not read it."
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _check_adapter(name: str, source: Source, base: Source) -> None:
    if name in (*BASE_ALIASES, base.name):
        raise EndpointServerError(f"adapter {name}: this name means the base; choose another.")
    try:
        config = json.loads((source.folder / "adapter_config.json").read_text())
    except ValueError as error:
        raise EndpointServerError(f"adapter {name}: its adapter_config.json is no JSON ({error}).") from error
    trained_on = config.get("base_model_name_or_path")
    if not _same_base(trained_on, base):
        or_named = "" if base.sha else f", or say --model-id {trained_on} if the folder holds it"
        raise EndpointServerError(
            f"adapter {name} was trained on {trained_on}, but {base.name} is served; "
            f"serve that base{or_named}."
        )
    if config.get("peft_type") != "LORA" or config.get("use_dora"):
        raise EndpointServerError(f"adapter {name} is no plain LoRA; merge it into its base and serve that.")


def _same_base(trained_on: str | None, base: Source) -> bool:
    if not trained_on:
        return False
    return trained_on == base.name or Path(trained_on).resolve() == base.folder.resolve()
