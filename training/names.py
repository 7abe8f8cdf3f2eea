"""Settings by the names that they have in other programs."""

from __future__ import annotations

# What TRL, PEFT and transformers call things, now or in earlier versions, and what they are called here.
ELSEWHERE = {
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
    "save_strategy": "save_steps",
    "data_seed": "seed",
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
    "model_name_or_path": "reads.base, or --base",
    "dataset_name": "reads.pairs, or --dataset",
}
