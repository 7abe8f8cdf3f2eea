"""Makes a checkpoint that was trained elsewhere fit to publish: safetensors only, no trace of a machine."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal

from training.errors import TrainingError
from training.publish import TOKENIZER_FILES, Base

ADAPTER, CONFIG, STATE = "adapter_config.json", "config.json", "trainer_state.json"
CONFIGS = (ADAPTER, CONFIG, "generation_config.json", "tokenizer_config.json", "special_tokens_map.json")
INDEX = ".safetensors.index.json"
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
LEGAL = re.compile(r"(licen[cs]e|notice|use_policy)[\w.-]*", re.IGNORECASE)
PLACES = ("_name_or_path", "name_or_path")  # where libraries note the folder that a model came from
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
LORA_PART = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])(\.\w+)?\.weight")

Header = Mapping[str, tuple[int, ...]]  # tensors with their shapes


@dataclass(frozen=True, slots=True)
class Adopted:
    """The folder to publish, what it holds, and what the checkpoint tells of its training."""

    folder: Path
    kind: Literal["full", "adapter"]
    parameters: int
    losses: list[tuple[int, float]]


def chosen_files(folder: Path) -> list[Path]:
    """Return the files of a checkpoint's folder that matter; TrainingError where there are no safetensors."""
    if not folder.is_dir():
        raise TrainingError(f"{folder}: there is no such folder")
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    if not any(path.suffix == ".safetensors" for path in files):
        pickled = next((path.name for path in files if path.suffix in PICKLED), None)
        raise TrainingError(
            f"{folder} holds {pickled or 'no weights'} and no safetensors"
            + ("; pickled weights can run code: save the model with save_pretrained" if pickled else "")
        )
    names = {*CONFIGS, *TOKENIZER_FILES, STATE}
    return [
        path
        for path in files
        if path.suffix == ".safetensors"
        or path.name in names
        or path.name.endswith(INDEX)
        or LEGAL.fullmatch(path.name)
    ]


def adopt(source: Path, base: Base, folder: Path) -> Adopted:
    """Write what of the checkpoint in `source` is to be published to `folder`.

    Weights are linked, not copied; what the checkpoint lacks of a tokenizer comes from the base. Raises
    TrainingError for a checkpoint that is incomplete, does not fit `base`, or names a place on a machine.
    """
    files = {path.name: path for path in chosen_files(source)}
    adapter = ADAPTER in files
    if not adapter and CONFIG not in files:
        raise TrainingError(f"{source} has neither {CONFIG} nor {ADAPTER}; is it the folder of one model?")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, path in files.items():
        if name.endswith(".json") and not name.startswith(("tokenizer.", "vocab.", "added_tokens.")):
            content = _read(path)
            if name != STATE:
                _write(folder / name, _cleaned(name, content, base))
        elif path.suffix == ".safetensors":
            (folder / name).symlink_to(path.resolve())
        else:
            shutil.copyfile(path, folder / name)
    if not any(name in files for name in ("tokenizer.json", "tokenizer.model")):
        for name in TOKENIZER_FILES:
            if (base.path / name).exists():
                shutil.copyfile(base.path / name, folder / name)
    header = _header(folder, source)
    _check_fit(header, base.path if adapter else folder, adapter, base)
    return Adopted(
        folder=folder,
        kind="adapter" if adapter else "full",
        parameters=sum(_size(shape) for shape in header.values()),
        losses=_losses(files.get(STATE)),
    )


def _cleaned(name: str, content: dict[str, Any], base: Base) -> dict[str, Any]:
    """Return a config without the places that it was made in; the adapter's names its base on the Hub."""
    content = {key: value for key, value in content.items() if key not in PLACES}
    if name == ADAPTER:
        named = str(content.get("base_model_name_or_path") or "")
        if HUB_ID.fullmatch(named) and named != base.repo:
            raise TrainingError(f"the adapter was trained on {named}, not on {base.repo}; name that as base")
        content |= {"base_model_name_or_path": base.repo, "revision": base.sha, "inference_mode": True}
    for key, value in _texts(content):
        if key != "chat_template" and is_local_path(value):
            raise TrainingError(f"{name}: {key} is {value!r}, a place on a machine; take it out")
    return content


def is_local_path(text: str) -> bool:
    """Whether a text is an absolute path, on any system, and not just a slash or a sentence."""
    if "\n" in text or len(text) > 4096:
        return False
    posix, windows = PurePosixPath(text), PureWindowsPath(text)
    rooted = text.startswith(("/", "~/", "file://"))
    return (rooted and len(posix.parts) > 2) or bool(windows.drive and windows.root)


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, key)


def _header(folder: Path, source: Path) -> Header:
    """Read all tensors' names and shapes, without their numbers; what an index names must be there."""
    from safetensors import SafetensorError, safe_open

    for index in folder.glob(f"*{INDEX}"):
        missing = {str(name) for name in _read(index).get("weight_map", {}).values()}
        missing -= {path.name for path in folder.iterdir()}
        if missing:
            raise TrainingError(f"{source} lacks {min(missing)}, which {index.name} names")
    found: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="numpy") as tensors:
                notes = tensors.metadata() or {}
                found |= {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise TrainingError(f"{path.name} is no whole safetensors file: {error}") from error
        for key, value in _texts(dict(notes)):
            if is_local_path(value):
                raise TrainingError(
                    f"{path.name}: its {key} is {value!r}, a place on a machine; save it anew"
                )
    return found


def _check_fit(header: Header, config: Path, adapter: bool, base: Base) -> None:
    """Compare names and shapes with a model of that config, built without weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(config))
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(f"config.json makes no model: {' '.join(str(error).split())}") from error
    if adapter:
        _check_adapter(header, dict(model.named_modules()), base)
        return
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for name, shape in header.items():
        if wanted.get(name, shape) != shape:
            raise TrainingError(f"{name} has the shape {shape}, and config.json asks for {wanted[name]}")
    tied = set(getattr(model, "_tied_weights_keys", None) or ())
    missing = set(wanted) - set(header) - tied
    if missing and set(header) <= set(wanted):
        raise TrainingError(f"the checkpoint lacks {min(missing)} and {len(missing) - 1} more tensors")


def _check_adapter(header: Header, modules: Mapping[str, Any], base: Base) -> None:
    found = [(name, LORA_PART.fullmatch(name)) for name in header]
    if not any(match for _, match in found):
        raise TrainingError("the adapter holds no LoRA weights; only LoRA adapters can be published")
    for name, match in found:
        if match is None:
            continue
        module = modules.get(match["module"])
        first = match["side"] == "A"
        width = getattr(module, "in_features" if first else "out_features", None)
        if width != header[name][1 if first else 0]:
            raise TrainingError(
                f"the adapter has weights of shape {header[name]} for {match['module']}, which do not fit "
                f"{base.repo}; it was trained on another base"
            )


def _losses(state: Path | None) -> list[tuple[int, float]]:
    """Return (step, loss) as transformers' Trainer noted it beside the checkpoint."""
    log = _read(state).get("log_history", []) if state else []
    entries = [entry for entry in log if isinstance(entry, dict)]
    return [(int(e["step"]), float(e["loss"])) for e in entries if "loss" in e and "step" in e]


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise TrainingError(f"{path.name} is no JSON object: {' '.join(str(error).split())}") from error


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _size(shape: tuple[int, ...]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count
