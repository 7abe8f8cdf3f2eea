"""Decoder layers that torch compiles, and matrix products in float8. Imports torch: import it where a
training starts.

Each layer is compiled by itself: all are alike, so that it takes a minute and not ten, and the head, which
TRL computes in pieces, stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

BACKEND = "inductor"
SHAPES = 64  # ways to compile a layer before torch gives up: by length, with and without checkpointing
FLOAT8_SIZE = 16  # what a float8 product's sizes are multiples of, tokens too


def decoder_layers(model: nn.Module) -> list[nn.Module]:
    """Return the layers that are repeated over the depth of a transformers model."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


def compile_layers(model: nn.Module) -> None:
    """Let a model's layers be compiled when they are first used; checkpointing has been set on them before.

    What computes activations again stays outside of what is compiled, since the compiler leaves the whole of
    a checkpointed layer as it is where it cannot take one part of it, such as attention with dropout.
    """
    torch._dynamo.config.recompile_limit = max(SHAPES, torch._dynamo.config.recompile_limit)
    torch._dynamo.config.optimize_ddp = False  # which cuts a layer to pieces that are sent apart
    for layer in decoder_layers(model):
        inside = torch.compile(layer.forward, backend=BACKEND)
        layer.forward = _computed_again(layer, inside) if layer.gradient_checkpointing else inside
        layer.gradient_checkpointing = False  # type: ignore[assignment]


def _computed_again(layer: Any, inside: Callable[..., Any]) -> Callable[..., Any]:
    checkpoint = layer._gradient_checkpointing_func

    def forward(*args: Any, **options: Any) -> Any:
        return checkpoint(partial(inside, **options), *args) if layer.training else inside(*args, **options)

    return forward


def evaluate_plainly(trainer: Any) -> None:
    """Let nothing be compiled in a trainer's evaluations: they come in too many shapes, an answer that grows
    by a token at a time among them.
    """
    evaluate = trainer.evaluate

    def plainly(*args: Any, **options: Any) -> Any:
        with torch.compiler.set_stance("force_eager"):
            return evaluate(*args, **options)

    trainer.evaluate = plainly


def checkpoint_only(model: nn.Module, layers: int) -> None:
    """Let the first `layers` layers alone compute their activations again, of a model with checkpointing."""
    for layer in decoder_layers(model)[layers:]:
        layer.gradient_checkpointing = False  # type: ignore[assignment]


def to_float8(model: Any, emulate: bool = False) -> None:
    """Let the layers' matrix products run in float8, scaled anew each time; weights stay as they are."""
    from torchao.float8 import Float8LinearConfig, convert_to_float8_training

    def fits(module: nn.Module, name: str) -> bool:
        return isinstance(module, nn.Linear) and not (
            module.in_features % FLOAT8_SIZE or module.out_features % FLOAT8_SIZE
        )

    for layer in decoder_layers(model):
        convert_to_float8_training(layer, module_filter_fn=fits, config=Float8LinearConfig(emulate=emulate))


def failed_to_compile(error: BaseException) -> bool:
    """Return whether an error comes from the compiler and not from the training."""
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor.exc import CppCompileError, InvalidCxxCompiler, OperatorIssue

    kinds = (TorchDynamoException, CppCompileError, InvalidCxxCompiler, OperatorIssue)
    return isinstance(error, kinds)
