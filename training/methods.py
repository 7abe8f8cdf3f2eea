"""The three methods: how the base is loaded and which adapter is put on it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from training.errors import TrainingError, one_line
from training.settings import TrainSettings

WINDOWS = ("sliding_window", "attention_chunk_size", "attn_logit_softcapping")
FULL = "full_attention"


def device() -> str:
    """Return cuda where torch sees a GPU, else cpu."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def gpus() -> int:
    """Return how many GPUs torch sees."""
    import torch

    return torch.cuda.device_count()


def load_base(path: Path, settings: TrainSettings) -> Any:
    """Load the base for training: 4-bit for qlora, for full as `weights` says, else what computes best.

    The weights that are trained are float32, adapters too: to the nearest bfloat16, 84 % of the updates of a
    learning rate of 1e-5 are lost. bfloat16 ones are rounded by chance, and then arrive on average.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForCausalLM

    on_gpu = device() == "cuda"
    compute = torch.bfloat16 if on_gpu else torch.float32
    options: dict[str, Any] = {"dtype": compute}
    if settings.method == "full":
        options["dtype"] = torch.bfloat16 if settings.rounds_by_chance else torch.float32
    if settings.method == "qlora":
        options["quantization_config"] = four_bit(compute)
        options["device_map"] = {"": int(os.environ.get("LOCAL_RANK", "0"))} if on_gpu else None
    try:
        if hasattr(AutoConfig.from_pretrained(path), "attention_dropout"):
            options["attention_dropout"] = settings.dropout_of_attention
        model, loaded = AutoModelForCausalLM.from_pretrained(
            path,
            attn_implementation=_attention(path, settings),
            use_safetensors=True,
            output_loading_info=True,
            **options,
        )
    except (OSError, ValueError, ImportError) as error:
        other = "; set attention to sdpa" if (settings.attention or "").startswith("flash") else ""
        raise TrainingError(f"the base model does not load: {one_line(error)}{other}") from error
    except SafetensorError as error:
        raise TrainingError(
            f"the base model's weights are damaged or cut off ({one_line(error)}); upload them again, and "
            "name the new revision"
        ) from error
    if absent := loaded["missing_keys"]:
        raise TrainingError(
            f"the base model lacks {min(absent)}, {len(absent)} tensors in all, which would begin at random; "
            "is its config.json that of its weights?"
        )
    if settings.method == "qlora":
        _keep_layout(model)
    return model


def _attention(path: Path, settings: TrainSettings) -> str:
    """Return the name that transformers knows the attention by."""
    if settings.attention != "varlen":
        return settings.attention or "sdpa"
    from training import attention

    if not sees_all_before(path):
        raise TrainingError(
            "attention is varlen, which a base with windows on its attention cannot take; leave it out"
        )
    attention.register()
    return attention.VARLEN


def sees_all_before(base: Path) -> bool:
    """Return whether each token of a base sees all those before it, alike: what varlen attention computes."""
    try:
        config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # told where it is loaded
        return True
    windows = any(config.get(key) for key in WINDOWS) and config.get("use_sliding_window", True)
    return not windows and set(config.get("layer_types") or [FULL]) == {FULL}


def _keep_layout(model: Any) -> None:
    """Stop bitsandbytes from packing 4-bit weights anew for an evaluation on a CPU: training on such weights
    gives another result, and processes cannot share them.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


class StoredAdapter:
    """The adapter that a checkpoint holds, to be saved elsewhere; its base need not be loaded for that."""

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint

    def save_pretrained(self, folder: Path, **_: Any) -> None:
        """Copy the adapter's weights and configuration to `folder`, as a PeftModel saves them."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("adapter_model.safetensors", "adapter_config.json"):
            shutil.copyfile(self.checkpoint / name, folder / name)


def load_trained(checkpoint: Path, settings: TrainSettings) -> Any:
    """Load what a checkpoint holds, on the CPU: the whole model, or the adapter."""
    from transformers import AutoModelForCausalLM

    if settings.method != "full":
        return StoredAdapter(checkpoint)
    return AutoModelForCausalLM.from_pretrained(checkpoint, dtype="auto", use_safetensors=True)


@contextlib.contextmanager
def layers_put_back(model: Any) -> Iterator[None]:
    """Put back, on leaving, what liger has swapped in transformers' own modules: else every model that is
    made later in this process has its layers too, which neither a CPU nor the compiler can use.
    """
    homes = {type(part).__module__ for part in model.modules()}
    modules = [sys.modules[home] for home in homes if home.startswith("transformers.models.")]
    before = [(module, dict(vars(module))) for module in modules]
    try:
        yield
    finally:
        for module, own in before:
            vars(module).update(own)


def load_tokenizer(path: Path, settings: TrainSettings) -> Any:
    """Load the base's tokenizer, with the settings' chat template where they name one."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError) as error:
        raise TrainingError(f"the base's tokenizer does not load: {one_line(error)}") from error
    if settings.chat_template is not None:
        tokenizer.chat_template = settings.chat_template
    return tokenizer


def four_bit(compute_dtype: Any) -> Any:
    """Return the QLoRA quantisation: NF4 with double quantisation, computing in `compute_dtype`."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
        bnb_4bit_quant_storage=compute_dtype,  # so that FSDP can split it
    )


def adapter(settings: TrainSettings, model: Any) -> Any:
    """Return the LoRA configuration for this base, or None for full fine-tuning."""
    if settings.method == "full":
        return None
    from peft import LoraConfig

    _check_targets(settings.lora_targets, model)
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=settings.lora_targets,
        bias="none",
    )


def _check_targets(targets: str | list[str], model: Any) -> None:
    """Refuse targets that are not there, which PEFT passes over, and the head, which TRL cannot adapt."""
    from torch.nn import Linear

    head = model.get_output_embeddings()
    modules = [(name, module) for name, module in model.named_modules() if isinstance(module, Linear)]
    known = {name.rpartition(".")[2] for name, module in modules if module is not head}
    unknown = set() if targets == "all-linear" else set(targets) - known
    if unknown:
        raise TrainingError(
            f"lora_targets names {', '.join(sorted(unknown))}; this base takes all-linear, or any of "
            f"{', '.join(sorted(known))}"
        )


def can_compile() -> bool:
    """Return whether layers can be compiled for this machine's GPU."""
    from torch.utils._triton import has_triton

    return bool(has_triton()) and builds_kernels()


def builds_kernels() -> bool:
    """Return whether Triton finds what it builds kernels with: a C compiler and Python's headers."""
    if not any(shutil.which(name) for name in (os.environ.get("CC", "cc"), "gcc", "clang")):
        return False
    if os.environ.get("CPATH") or os.environ.get("C_INCLUDE_PATH"):
        return True  # they may lie anywhere
    scheme = sysconfig.get_default_scheme().replace("posix_local", "posix_prefix")  # as Triton looks for them
    return Path(sysconfig.get_path("include", scheme), "Python.h").exists()


def float32_adapters(model: Any) -> None:
    """Keep trained weights in float32: TRL casts a qlora run's to bfloat16, where small updates are lost.

    What goes into them on a GPU stays bfloat16, as autocast computes in that: PEFT would make a float32 copy
    for each adapter, to be kept for the backward pass.
    """
    import torch

    for module in model.modules():
        if hasattr(module, "cast_input_dtype_enabled"):
            module.cast_input_dtype_enabled = device() == "cpu"

    for parameter in model.parameters():
        if parameter.requires_grad and parameter.is_floating_point():
            parameter.data = parameter.data.to(torch.float32)
