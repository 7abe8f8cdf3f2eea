"""Finds a model or adapter: a local folder, or a Hub repository pinned to one commit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hub_tools.endpoints.server.options import EndpointServerError

_MODEL_FILES = ["*.json", "*.safetensors", "*.jinja", "*.model", "merges.txt", "vocab.txt"]
_ADAPTER_FILES = ["adapter_config.json", "adapter_model.safetensors"]


@dataclass(frozen=True)
class Source:
    """A folder with files, the name they go by, and the commit they came from (None for a local folder)."""

    folder: Path
    name: str
    sha: str | None


def find_model(reference: str, model_id: str | None = None) -> Source:
    """The files of a model given as `namespace/name[@revision]` or as a local folder."""
    source = _find(reference, _MODEL_FILES, "model")
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
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    repo, _, revision = reference.removeprefix("hf://").partition("@")
    api = HfApi()
    try:
        sha = str(api.model_info(repo, revision=revision or None).sha)
        folder = api.snapshot_download(repo, revision=sha, allow_patterns=files)
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise EndpointServerError(
            f"{what} {reference} cannot be read from {constants.ENDPOINT}: {reason}"
        ) from error
    return Source(Path(folder), repo, sha)
