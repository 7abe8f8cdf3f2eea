"""The three methods: how the base is loaded and which adapter is put on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from training.errors import TrainingError
from training.settings import TrainSettings


def device() -> str:
    """Return cuda where torch sees a GPU, else cpu."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def load_base(path: Path, settings: TrainSettings) -> Any:
    """Load the base for training: 4-bit for qlora, else float32, or bfloat16 under an adapter on a GPU.

    Full fine-tuning has float32 weights everywhere: at a learning rate of 1e-5 bfloat16 loses most updates.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    on_gpu = device() == "cuda"
    compute = torch.bfloat16 if on_gpu else torch.float32
    options: dict[str, Any] = {"dtype": torch.float32 if settings.method == "full" else compute}
    if settings.method == "qlora":
        options["quantization_config"] = four_bit(compute)
        options["device_map"] = {"": 0} if on_gpu else None
    try:
        if hasattr(AutoConfig.from_pretrained(path), "attention_dropout"):
            options["attention_dropout"] = settings.attention_dropout
        return AutoModelForCausalLM.from_pretrained(
            path, attn_implementation="sdpa", use_safetensors=True, **options
        )
    except (OSError, ValueError) as error:
        raise TrainingError(f"the base model does not load: {' '.join(str(error).split())}") from error


def load_tokenizer(path: Path, settings: TrainSettings) -> Any:
    """Load the base's tokenizer, with the settings' chat template where they name one."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError) as error:
        raise TrainingError(f"the base's tokenizer does not load: {' '.join(str(error).split())}") from error
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


def float32_adapters(model: Any) -> None:
    """Keep trained weights in float32: TRL casts a qlora run's to bfloat16, where small updates are lost."""
    import torch

    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32)
