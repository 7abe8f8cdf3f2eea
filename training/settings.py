"""The settings of one training: what a recipe may say, what each value means, and what None becomes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from training.errors import TrainingError
from training.names import ELSEWHERE

Method = Literal["full", "lora", "qlora"]
Sharding = Literal["ddp", "fsdp2", "zero3"]
Attention = Literal["sdpa", "varlen", "eager", "flash_attention_2", "flash_attention_3", "flash_attention_4"]
PADDED = ("sdpa", "eager")  # attention that needs rows of one length, unless they are packed
WITHOUT_DROPOUT = ("flash_attention_3", "flash_attention_4")  # they leave it out and say nothing

# Adapters start at zero and need far larger steps than weights that were pretrained.
LEARNING_RATES: dict[Method, float] = {"full": 1e-5, "lora": 2e-4, "qlora": 2e-4}
ATTENTION_DROPOUTS: dict[Method, float] = {"full": 0.1, "lora": 0.0, "qlora": 0.0}
MICRO_BATCHES = {"cpu": 2, "cuda": 8}
GENERATION_TAGS = re.compile(r"{%-?\s*(end)?generation\s*-?%}")  # of transformers, not of Jinja


class TrainSettings(BaseModel, extra="forbid", frozen=True):
    """Settings of one supervised training; the defaults are the paper's where it names a value."""

    elsewhere: ClassVar[Mapping[str, str]] = ELSEWHERE

    method: Method = Field(
        "qlora",
        description="full trains all weights; lora adapters on the base; qlora the same on a 4-bit base.",
    )
    learning_rate: float | None = Field(
        None,
        gt=0,
        lt=0.1,
        description="Peak learning rate; None takes 1e-5 for full (the paper's, 7B), 2e-4 for the others.",
    )
    steps: int = Field(600, ge=1, description="Optimiser steps; the paper tries 600, 900 and 1200 for 7B.")
    batch_size: int = Field(32, ge=1, le=65536, description="Pairs in one optimiser step, packed or not.")
    micro_batch: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Pairs in one forward pass, a divisor of batch_size (if packing, times max_length). "
        "None takes up to 2 on a CPU, on a GPU what is fastest in its memory; 1 pack on a CPU.",
    )
    max_length: int = Field(
        2048,
        ge=8,
        le=1_048_576,
        description="Longest pair in tokens: a longer one is cut, or dropped if its prompt is as long.",
    )
    warmup: float = Field(
        0.0, ge=0, lt=1, description="Share of the steps in which the learning rate rises from zero."
    )
    weights: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="What full trains: float32 weights, or bfloat16 ones with stochastic rounding and 8-bit "
        "AdamW (torchao), which takes a third of the memory; weights that `sharding` splits are float32. "
        "Unused by the others.",
    )
    scheduler: Literal["cosine", "linear", "constant_with_warmup"] = Field(
        "cosine", description="How the learning rate goes on after the warm-up."
    )
    weight_decay: float = Field(0.1, ge=0, le=1, description="AdamW's weight decay.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are scaled down to this norm.")
    attention_dropout: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Dropout on attention weights in training; None takes 0.1 for full (the paper's), 0 for "
        "the others, which have lora_dropout. The published config keeps the base's value; without effect on "
        "a base that has no such setting.",
    )
    lora_rank: int = Field(64, ge=1, le=4096, description="Rank of the adapters; unused by full.")
    lora_alpha: int = Field(128, ge=1, le=65536, description="Adapters are scaled by lora_alpha / lora_rank.")
    lora_dropout: float = Field(
        0.1, ge=0, lt=1, description="Dropout on the adapters' input; unused by full."
    )
    lora_targets: Literal["all-linear"] | list[str] = Field(
        "all-linear",
        min_length=1,
        description="Modules that get an adapter: all-linear, or names such as q_proj.",
    )
    attention: Attention | None = Field(
        None,
        description="How attention is computed; None takes varlen, which leaves padding out, on a GPU or for "
        "packing, else sdpa. The flash ways need a GPU and a package (flash_attention_4: flash-attn-4, for "
        "Hopper and newer), and 3 and 4 have no attention_dropout; varlen needs neither.",
    )
    packing: bool = Field(
        False,
        description="Put several pairs into one sequence, which saves padding; they do not see each other "
        "and a step stays batch_size pairs.",
    )
    gradient_checkpointing: bool | None = Field(
        None,
        description="Compute activations again to save memory; None does so on a GPU that has too little.",
    )
    checkpointed_layers: int | None = Field(
        None,
        ge=1,
        description="How many layers gradient_checkpointing takes; None takes all, or on a GPU as many as it "
        "must.",
    )
    offload_activations: bool | None = Field(
        None,
        description="Keep what checkpointing keeps in the machine's memory, not the GPU's; None does so on a "
        "GPU where that makes room for larger, faster micro-batches.",
    )
    compile_layers: bool | None = Field(
        None,
        description="Compile the layers, which takes a minute or two; None does so on a GPU for a training "
        "that takes more than ten.",
    )
    float8: bool = Field(
        False,
        description="Let full train with matrix products in float8 (torchao), which are faster and less "
        "exact; weights and updates stay as they are. Needs a GPU of Ada's or Hopper's kind, or newer.",
    )
    gpu_memory: float | None = Field(
        None,
        gt=0,
        exclude=True,
        description="GiB of the GPU that the training may fill; None takes nearly all. In no fingerprint.",
    )
    chat_template: str | None = Field(
        None, description="A Jinja chat template in place of the base's own; needed where the base has none."
    )
    seed: int = Field(
        0, ge=0, lt=2**31, description="Seed of the pair order, the dropout and the new adapters."
    )
    save_steps: int = Field(
        100, ge=1, description="Steps between checkpoints; a killed training goes on from the last."
    )
    save_minutes: float = Field(
        30.0,
        gt=0,
        exclude=True,
        description="Minutes after which a checkpoint is written, however few the steps; in no fingerprint.",
    )
    held_out: float = Field(
        0.0,
        ge=0,
        description="Pairs that are kept from training to measure the loss on: below 1 a share of them, from "
        "1 on a number; chosen by their id, so that more pairs move none of them.",
    )
    eval_steps: int | None = Field(
        None, ge=1, description="Steps between evaluations on the held-out pairs; None evaluates 10 times."
    )
    keep_steps: list[int] = Field(
        [],
        description="Steps whose weights are kept beside the last ones, such as [600, 900]; of all these the "
        "ones with the lowest held-out loss are published.",
    )
    publish_step: int | None = Field(
        None,
        description="Publish the weights of this step of keep_steps, whatever the held-out losses say; they "
        "all stay in the work folder, so that nothing is trained again for another choice.",
    )
    samples: int = Field(
        3, ge=0, le=100, description="Held-out prompts that the model answers at each evaluation."
    )
    sample_tokens: int = Field(128, ge=1, le=8192, description="Longest sample answer, in tokens.")
    merge: bool | None = Field(
        None,
        description="Publish the model with the adapter merged in, not the adapter; only for lora and qlora.",
    )
    max_dropped_share: float = Field(
        0.1, ge=0, le=1, description="Largest share of pairs that may have nothing left to train on."
    )
    processes: int = Field(
        1,
        ge=1,
        le=4096,
        exclude=True,
        description="Processes (GPUs) that train together, each its part of every step. The result is the "
        "same up to the order of sums, so this is in no fingerprint.",
    )
    sharding: Sharding = Field(
        "ddp",
        exclude=True,
        description="How several processes share the model: ddp copies it, fsdp2 and zero3 split it; in no "
        "fingerprint.",
    )
    tracker: Literal["auto", "none", "trackio"] = Field(
        "auto",
        exclude=True,
        description="Where the losses are drawn while it trains: trackio (the extra `watch`) keeps them on "
        "this machine, `trackio show` draws them; auto takes it where it is installed; in no fingerprint.",
    )

    @field_validator("lora_targets", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        """Take names with commas between them, as a command line has them, for a list."""
        if isinstance(value, str) and value != "all-linear":
            return [name.strip() for name in value.split(",")]
        return value

    @field_validator("chat_template")
    @classmethod
    def _parsed(cls, value: str | None) -> str | None:
        from jinja2 import Environment, TemplateSyntaxError

        try:
            Environment(extensions=["jinja2.ext.loopcontrols"]).parse(GENERATION_TAGS.sub("", value or ""))  # noqa: S701
        except TemplateSyntaxError as error:
            raise ValueError(f"line {error.lineno} is no Jinja: {error.message}") from error
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.method == "full" and self.merge is not None:
            raise ValueError(
                f"merge is {self.merge}, but method full has no adapter to merge; leave merge out"
            )
        if self.batch_size % self.processes:
            fits = [n for n in range(1, self.batch_size + 1) if self.batch_size % n == 0]
            near = {max(n for n in fits if n < self.processes), *[n for n in fits if n > self.processes][:1]}
            raise ValueError(
                f"{self.processes} processes do not divide batch_size {self.batch_size}; take "
                f"{' or '.join(map(str, sorted(near)))}, or another batch_size"
            )
        if self.float8 and self.method != "full":
            raise ValueError(f"float8 is on, but method {self.method} trains adapters; it is for full alone")
        if self.sharding == "zero3" and self.method != "full":
            raise ValueError(f"sharding zero3 is for method full; take fsdp2 or ddp for {self.method}")
        if self.attention in WITHOUT_DROPOUT and self.dropout_of_attention:
            raise ValueError(
                f"attention {self.attention} has no dropout, but attention_dropout is "
                f"{self.dropout_of_attention:g}; set that to 0, or take another attention"
            )
        if self.checkpointed_layers and self.gradient_checkpointing is False:
            raise ValueError("checkpointed_layers is set, but gradient_checkpointing is off")
        share = self.batch_size // self.processes
        if not self.packing and self.micro_batch and share % self.micro_batch:
            each = f"the {share} pairs of each process" if self.processes > 1 else f"batch_size {share}"
            raise ValueError(f"micro_batch {self.micro_batch} does not divide {each}")
        return self

    @model_validator(mode="after")
    def _kept(self) -> Self:
        late = [step for step in self.keep_steps if not 1 <= step <= self.steps]
        if late:
            raise ValueError(f"keep_steps names step {late[0]}; the training has steps 1 to {self.steps}")
        if self.publish_step is not None and self.publish_step not in self.candidates():
            raise ValueError(f"publish_step {self.publish_step} is not one of keep_steps {self.keep_steps}")
        if self.keep_steps and not self.held_out and self.publish_step is None:
            raise ValueError("keep_steps needs held_out pairs to choose by, or publish_step")
        return self

    @property
    def dropout_of_attention(self) -> float:
        """The attention's dropout, filled in where it is open."""
        return ATTENTION_DROPOUTS[self.method] if self.attention_dropout is None else self.attention_dropout

    @property
    def padding_free(self) -> bool:
        """Whether the pairs of a micro-batch lie one after the other in one row; `attention` is resolved."""
        return self.packing or self.attention not in PADDED

    @property
    def split(self) -> bool:
        """Whether each of several processes holds a part of the weights, and not all of them."""
        return self.processes > 1 and self.sharding != "ddp"

    @property
    def rounds_by_chance(self) -> bool:
        """Whether the trained weights are bfloat16, whose updates arrive only if rounded by chance.

        Split ones are float32: accelerate makes them so, and cannot go on from 8-bit states that are split.
        """
        return self.method == "full" and self.weights == "bfloat16" and not self.split

    def candidates(self) -> list[int]:
        """Return the steps of which one is published, the last step among them."""
        return sorted({*self.keep_steps, self.steps})

    def evaluates(self, step: int) -> bool:
        """Return whether the held-out pairs are measured after this step."""
        every = self.eval_steps or max(1, self.steps // 10)
        return bool(self.held_out) and (step % every == 0 or step in self.candidates())

    def resolve(self, device: str) -> TrainSettings:
        """Return these settings with every open value filled in for `device` (cpu or cuda)."""
        largest = MICRO_BATCHES[device]
        share = self.batch_size // self.processes
        divisor = max(size for size in range(1, largest + 1) if share % size == 0)
        filled = {
            "learning_rate": self.learning_rate or LEARNING_RATES[self.method],
            "attention_dropout": self.dropout_of_attention,
            "weights": "bfloat16" if self.rounds_by_chance else "float32",
            "micro_batch": self.micro_batch or (1 if self.packing else divisor),
            "attention": self.attention or ("varlen" if device == "cuda" or self.packing else "sdpa"),
            "gradient_checkpointing": device == "cuda" or bool(self.checkpointed_layers)
            if self.gradient_checkpointing is None
            else self.gradient_checkpointing,
            "offload_activations": bool(self.offload_activations),
            "compile_layers": bool(self.compile_layers),
            "eval_steps": self.eval_steps or max(1, self.steps // 10),
            "merge": None if self.method == "full" else bool(self.merge),
        }
        return self.model_copy(update=filled)

    def smaller(self) -> TrainSettings | None:
        """Return these resolved settings with the next smaller micro-batch, at last with checkpointing."""
        assert self.micro_batch is not None
        share = self.batch_size // self.processes
        fits = [n for n in range(1, self.micro_batch) if self.packing or share % n == 0]
        if fits:
            return self.model_copy(update={"micro_batch": max(fits)})
        if self.gradient_checkpointing and self.checkpointed_layers is None:
            return None
        return self.model_copy(update={"gradient_checkpointing": True, "checkpointed_layers": None})

    def everything(self) -> dict[str, Any]:
        """Return all settings as JSON can hold them, those in no fingerprint too."""
        return {name: getattr(self, name) for name in type(self).model_fields}


def load_settings(path: Path) -> TrainSettings:
    """Read a YAML file of settings; TrainingError names the first wrong key in one line."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return TrainSettings.model_validate(content)
    except (OSError, yaml.YAMLError) as error:
        raise TrainingError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "settings"
        raise TrainingError(f"{path.name}: {key}: {first['msg']}, got {first['input']!r}") from error
