"""The folder that gets uploaded: safetensors, the base's tokenizer and template, no trace of this machine."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

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


@dataclass(frozen=True, slots=True)
class Base:
    """The model that is trained: a local snapshot of `repo` at the commit `sha`."""

    path: Path
    repo: str
    sha: str


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
