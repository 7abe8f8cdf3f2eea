"""A base model's shape, read from its config.json: parameters, operations and bytes, without its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.errors import TrainingError

LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
NEEDED = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")


@dataclass(frozen=True, slots=True)
class Shape:
    """A decoder with attention and a gated MLP in every layer, as Llama, Qwen, Mistral and OLMo have it."""

    vocab: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    tied: bool

    @property
    def queries(self) -> int:
        """Width of the queries and of the attention's output."""
        return self.heads * self.head_size

    @property
    def keys(self) -> int:
        """Width of the keys, and of the values."""
        return self.kv_heads * self.head_size

    @property
    def matrices(self) -> Mapping[str, tuple[int, int]]:
        """Each linear module of a layer with its inputs and outputs."""
        sizes = {
            "q_proj": (self.hidden, self.queries),
            "k_proj": (self.hidden, self.keys),
            "v_proj": (self.hidden, self.keys),
            "o_proj": (self.queries, self.hidden),
        }
        return sizes | {
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    @property
    def embedding(self) -> int:
        """Parameters of the token embedding; the head has as many, unless they are tied."""
        return self.vocab * self.hidden

    @property
    def linear(self) -> int:
        """Parameters of all layers' linear modules: those that NF4 stores."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.matrices.values())

    @property
    def parameters(self) -> int:
        """All parameters but biases."""
        norms = (2 * self.layers + 1) * self.hidden
        return self.linear + self.embedding * (1 if self.tied else 2) + norms

    def adapters(self, rank: int, targets: str | Sequence[str] = "all-linear") -> int:
        """Return the parameters of LoRA adapters on the named modules of every layer."""
        return self.layers * sum(rank * sum(self.matrices[name]) for name in _linear(targets))

    def inputs(self, targets: str | Sequence[str] = "all-linear") -> int:
        """Return the width of what goes into the named modules of one layer, of all together."""
        return sum(self.matrices[name][0] for name in _linear(targets))

    def forward_flops(self, length: float) -> float:
        """Return operations of a forward pass a token, in causal sequences of `length` tokens."""
        return 2 * (self.linear + self.embedding) + 2 * self.layers * self.queries * length


def _linear(targets: str | Sequence[str]) -> Sequence[str]:
    return LINEAR if isinstance(targets, str) else [name for name in targets if name in LINEAR]


def read_shape(folder: Path) -> Shape:
    """Read the shape of the model in `folder`; TrainingError where its config.json is of another kind."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"the base's config.json cannot be read: {' '.join(str(error).split())}"
        ) from error
    return shape_of(config)


def shape_of(config: Mapping[str, Any]) -> Shape:
    """Return the shape that a config.json describes; TrainingError for what a forecast cannot know."""
    kind = str(config.get("model_type", "of an unknown type"))
    if not all(isinstance(config.get(key), int) for key in NEEDED):
        missing = next(key for key in NEEDED if not isinstance(config.get(key), int))
        raise TrainingError(f"no forecast for a {kind} model: its config.json has no {missing}")
    if any("expert" in key and value for key, value in config.items()):
        raise TrainingError(f"no forecast for a {kind} model: it is a mixture of experts")
    heads = config["num_attention_heads"]
    return Shape(
        vocab=config["vocab_size"],
        hidden=config["hidden_size"],
        intermediate=config["intermediate_size"],
        layers=config["num_hidden_layers"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_size=config.get("head_dim") or config["hidden_size"] // heads,
        tied=bool(config.get("tie_word_embeddings", False)),
    )
