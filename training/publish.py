"""The folder that gets uploaded: safetensors, the base's tokenizer and template, no trace of this machine."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from training.errors import TrainingError
from training.settings import TrainSettings

Kind = Literal["full", "adapter", "merged"]

# Copied byte for byte, so that the published model tokenises exactly as the base does.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)
BASE_FILES = ("config.json", "generation_config.json", *TOKENIZER_FILES)
# All that is needed of a base; many repos hold the same weights in other formats, too.
MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken")


@dataclass(frozen=True, slots=True)
class Base:
    """The model that is trained: a local snapshot of `repo` at the commit `sha`."""

    path: Path
    repo: str
    sha: str


@dataclass(frozen=True, slots=True)
class Merged:
    """A folder with an adapter merged into its base; `settings` are the adapter's rank, scale and targets."""

    folder: Path
    parameters: int
    settings: dict[str, Any]


def write_model(model: Any, base: Base, settings: TrainSettings, folder: Path) -> None:
    """Write the trained model (a PeftModel; for full the model) to `folder`, replacing what lies there."""
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    _write_weights(model, base, settings, part)
    _copy_from_base(base, part, (*TOKENIZER_FILES, "generation_config.json"))
    if settings.chat_template is not None:
        _replace_template(part, settings.chat_template)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)


def _write_weights(model: Any, base: Base, settings: TrainSettings, folder: Path) -> None:
    if settings.method == "full":
        _write_whole(model, base, folder)
    elif not settings.merge:
        write_adapter(model, base, folder)
    else:
        adapter = folder / "adapter"
        write_adapter(model, base, adapter)
        _write_whole(merge(base, adapter), base, folder)
        shutil.rmtree(adapter)


def write_adapter(model: Any, base: Base, folder: Path) -> None:
    """Save the adapter of a PeftModel; its configuration names the base by repo and commit."""
    model.save_pretrained(folder, safe_serialization=True)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's card, which names the local base
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config |= {"base_model_name_or_path": base.repo, "revision": base.sha, "inference_mode": True}
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()  # PEFT keeps a set: its order differs from process to process
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def write_merged(base: Base, adapter: Path, folder: Path) -> Merged:
    """Write the base with the published adapter in `adapter` merged in; its tokenizer is the adapter's.

    Raises TrainingError for a folder that is no adapter, or one that was trained on another base.
    """
    config = _check_adapter(base, adapter)
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        model = merge(base, adapter)
    except (RuntimeError, ValueError, KeyError) as error:
        raise TrainingError(f"the adapter does not fit {base.repo}: {str(error).splitlines()[0]}") from error
    _write_whole(model, base, part)
    _copy_from_base(base, part, (*TOKENIZER_FILES, "generation_config.json"))
    for name in TOKENIZER_FILES:
        if (adapter / name).exists():
            shutil.copyfile(adapter / name, part / name)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    named = {"lora_rank": "r", "lora_alpha": "lora_alpha", "lora_targets": "target_modules"}
    return Merged(folder, int(model.num_parameters()), {ours: config.get(key) for ours, key in named.items()})


def _check_adapter(base: Base, adapter: Path) -> dict[str, Any]:
    """Return the adapter's config; refuse another base than its own, and one in 4 bits."""
    path = adapter / "adapter_config.json"
    if not path.exists():
        raise TrainingError("it is a whole model and no adapter; let its training set merge: false")
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    trained_on = config.get("base_model_name_or_path"), config.get("revision") or base.sha
    if trained_on != (base.repo, base.sha):
        raise TrainingError(
            f"the adapter was trained on {trained_on[0]}@{str(trained_on[1])[:12]}, and the base is "
            f"{base.repo}@{base.sha[:12]}; set reads.base to the former"
        )
    whole = json.loads((base.path / "config.json").read_text(encoding="utf-8"))
    if "quantization_config" in whole:
        raise TrainingError(f"{base.repo} is quantised; an adapter is merged into the weights it came from")
    return config


def merge(base: Base, adapter: Path) -> Any:
    """Return the base, loaded unquantised in its own dtype, with the adapter merged in."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base.path, dtype="auto", use_safetensors=True)
    return PeftModel.from_pretrained(model, adapter).merge_and_unload(safe_merge=True)


def _write_whole(model: Any, base: Base, folder: Path) -> None:
    """Save all weights in the base's dtype, with the base's own config: no dropout of the training in it."""
    import torch
    from transformers import AutoConfig

    dtype = AutoConfig.from_pretrained(base.path).dtype or torch.float32
    model.to(dtype).save_pretrained(folder)
    _copy_from_base(base, folder, ("config.json",))


def _copy_from_base(base: Base, folder: Path, names: tuple[str, ...]) -> None:
    for name in names:
        if (base.path / name).exists():
            shutil.copyfile(base.path / name, folder / name)


def _replace_template(folder: Path, template: str) -> None:
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    if config.pop("chat_template", None) is not None:
        path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
