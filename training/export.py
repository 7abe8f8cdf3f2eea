"""The same training for plain TRL: a folder with the YAML of `trl sft`, the pairs, and the chat template."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from training.settings import TrainSettings
from training.views import Pair

CONFIG, PAIRS, TEMPLATE = "sft.yaml", "pairs", "chat_template.jinja"
PROFILES = {"ddp": "multi_gpu", "fsdp2": "fsdp2", "zero3": "zero3"}  # as TRL calls its accelerate profiles

HEADER = """\
# The training of {role} for plain TRL, of {base}. Run it in this folder:
#   {command}
# What TRL does its own way: the order of the pairs, so that losses agree in course and not in digits; what a
# chat template writes around an answer, such as the end of a line or an empty thought, it trains as well; the
# adapters of a 4-bit base it trains in bfloat16; it holds no pairs out and merges nothing.{packing}
"""
PACKED = " Its packs\n# hold as many pairs as go in, so that a step has about {batch} pairs and not exactly."


def export_trl(
    folder: Path,
    settings: TrainSettings,
    role: str,
    base: tuple[str, str],
    pairs: Iterable[Pair],
    device: str,
) -> Path:
    """Write what plain TRL needs for this training into `folder` and return its YAML file.

    `settings` are resolved for `device`, cuda or cpu; `base` is the base's repo and commit.
    """
    (folder / PAIRS).mkdir(parents=True, exist_ok=True)
    count, characters = _write_pairs(folder / PAIRS / "train.jsonl", pairs)
    if settings.chat_template is not None:
        (folder / TEMPLATE).write_text(settings.chat_template, encoding="utf-8")
    header = HEADER.format(
        role=role,
        base="@".join(base),
        command=_command(settings),
        packing=PACKED.format(batch=settings.batch_size) if settings.packing else "",
    )
    mean = characters / max(count, 1) / 4  # English has about four characters a token
    path = folder / CONFIG
    path.write_text(header + _yaml(trl_settings(settings, base, device, mean)), encoding="utf-8")
    return path


def trl_settings(
    settings: TrainSettings, base: tuple[str, str], device: str, pair_tokens: float = 512
) -> dict[str, Any]:
    """Return the keys of `trl sft` that say what resolved settings say."""
    return {
        **_model(settings, base, device),
        "dataset_name": PAIRS,
        "output_dir": "model",
        "completion_only_loss": True,
        "max_length": settings.max_length,
        **_steps(settings, pair_tokens),
        **_optimizer(settings),
        "gradient_checkpointing": bool(settings.gradient_checkpointing),
        "use_cpu": device == "cpu",
        "bf16": device != "cpu",
        "seed": settings.seed,
        "data_seed": settings.seed,
        "save_steps": settings.save_steps,
        "logging_steps": 1,
        "report_to": "none",
        **({"chat_template_path": TEMPLATE} if settings.chat_template is not None else {}),
    }


def _model(settings: TrainSettings, base: tuple[str, str], device: str) -> dict[str, Any]:
    in_float32 = device == "cpu" or (settings.method == "full" and not settings.rounds_by_chance)
    found: dict[str, Any] = {
        "model_name_or_path": base[0],
        "model_revision": base[1],
        "dtype": "float32" if in_float32 else "bfloat16",
        "attn_implementation": "sdpa" if settings.attention == "varlen" else settings.attention,
    }
    if settings.attention_dropout:  # of a base that has none, leave the key out
        found["model_init_kwargs"] = {"attention_dropout": settings.attention_dropout}
    if settings.method == "full":
        return found
    found |= {
        "use_peft": True,
        "lora_r": settings.lora_rank,
        "lora_alpha": settings.lora_alpha,
        "lora_dropout": settings.lora_dropout,
        "lora_target_modules": settings.lora_targets,
    }
    if settings.method == "qlora":
        found |= {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "use_bnb_nested_quant": True}
    return found


def _steps(settings: TrainSettings, pair_tokens: float) -> dict[str, Any]:
    """TRL counts packs where it packs: as many make a step as hold about `batch_size` pairs."""
    assert settings.micro_batch is not None
    share = settings.batch_size // settings.processes
    if settings.packing:
        length = min(pair_tokens, settings.max_length)
        packs = round(share * length / (settings.micro_batch * settings.max_length))
        return {
            "max_steps": settings.steps,
            "packing": True,
            "per_device_train_batch_size": settings.micro_batch,
            "gradient_accumulation_steps": max(1, packs),
        }
    return {
        "max_steps": settings.steps,
        "packing": False,
        "per_device_train_batch_size": settings.micro_batch,
        "gradient_accumulation_steps": share // settings.micro_batch,
    }


def _optimizer(settings: TrainSettings) -> dict[str, Any]:
    found: dict[str, Any] = {
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": settings.scheduler,
        "warmup_steps": settings.warmup,
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
        "optim": "adamw_torch_fused",
    }
    if settings.rounds_by_chance:
        found |= {"optim": "adamw_torch_8bit", "optim_args": "bf16_stochastic_round=True"}
    return found


def _command(settings: TrainSettings) -> str:
    if settings.processes == 1:
        return f"trl sft --config {CONFIG}"
    profile = PROFILES[settings.sharding]
    return f"trl sft --config {CONFIG} --accelerate_config {profile} --num_processes {settings.processes}"


def _write_pairs(path: Path, pairs: Iterable[Pair]) -> tuple[int, int]:
    """Write the pairs as chats, which TRL trains the completion of; return their number and characters."""
    count = characters = 0
    with path.open("w", encoding="utf-8") as file:
        for pair in pairs:
            row = {"prompt": pair.prompt, "completion": pair.completion}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
            characters += sum(len(message["content"]) for message in [*pair.prompt, *pair.completion])
    return count, characters


def _yaml(content: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
