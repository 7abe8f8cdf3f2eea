"""Attention for rows that hold several pairs: each pair sees itself alone, and no mask is made.

A mask over a whole row takes the square of its length, and keeps PyTorch from its flash kernels. Imports
torch: import it where a training starts.
"""

from __future__ import annotations

import weakref
from inspect import signature
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

VARLEN = "varlen"
GROUPS_IF_ASKED = "enable_gqa" in signature(varlen_attn).parameters  # torch 2.11 does not know it


def register() -> None:
    """Make this attention known to transformers by its name."""
    AttentionInterface.register(VARLEN, varlen_attention)


def varlen_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attend within each pair of one row, whose bounds are `cu_seq_lens_q`; without bounds, in the whole row.

    `query` is (1, heads, tokens, size), key and value alike with the heads that they have; what comes back is
    (1, tokens, heads, size). transformers makes no mask for it, so no row may be padded.
    """
    if cu_seq_lens_q is None:
        found = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others
        )
        return found[0], None
    query, key, value = _in_one_dtype(query, key, value)
    if max_length_q is not None and _in_one_kernel(query, value, dropout):
        return _one_kernel(query, key, value, cu_seq_lens_q, max_length_q, scaling), None
    return _one_by_one(module, query, key, value, cu_seq_lens_q, dropout, scaling), None


def _in_one_dtype(*parts: Tensor) -> list[Tensor]:
    """Return what autocast takes for attention: beside float32 weights, rotated queries and keys are float32
    and values are not.
    """
    kind = parts[0].device.type
    if not torch.is_autocast_enabled(kind):
        return list(parts)
    return [part.to(torch.get_autocast_dtype(kind)) for part in parts]


def _in_one_kernel(query: Tensor, value: Tensor, dropout: float) -> bool:
    """Return whether PyTorch's flash kernel for several lengths takes these: it has no dropout."""
    if not query.is_cuda or dropout or torch.cuda.get_device_capability(query.device) < (8, 0):
        return False
    size = query.shape[-1]
    half = query.dtype in (torch.bfloat16, torch.float16)
    return half and size == value.shape[-1] and size % 8 == 0 and size <= 256


def _one_kernel(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, longest: int, scaling: float | None
) -> Tensor:
    grouped: dict[str, Any] = {"enable_gqa": query.shape[1] != key.shape[1]} if GROUPS_IF_ASKED else {}
    whole = varlen_attn(
        query[0].transpose(0, 1),
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        bounds,
        bounds,
        longest,
        longest,
        scale=scaling,
        window_size=(-1, 0),  # causal
        **grouped,
    )
    assert isinstance(whole, Tensor)
    return whole.unsqueeze(0)


@torch.compiler.disable  # type: ignore[untyped-decorator]  # how many pairs there are would else be compiled in
def _one_by_one(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bounds: Tensor,
    dropout: float,
    scaling: float | None,
) -> Tensor:
    """Attend within each pair by a call of its own, on any device and with dropout."""
    outputs = []
    for start, end in _spans(bounds):
        one = (part[:, :, start:end] for part in (query, key, value))
        outputs.append(sdpa_attention_forward(module, *one, None, dropout=dropout, scaling=scaling)[0])
    return torch.cat(outputs, dim=1)


class _Bounds:
    """The bounds that were read last: a GPU is asked once a micro-batch, not once a layer."""

    of: weakref.ref[Tensor] | None = None
    spans: list[tuple[int, int]] = []


def _spans(bounds: Tensor) -> list[tuple[int, int]]:
    """Return where each pair starts and ends."""
    if _Bounds.of is None or _Bounds.of() is not bounds:
        ends = bounds.tolist()
        while len(ends) > 2 and ends[-2] - ends[-3] == 1:  # padding is pairs of one token, at the end
            del ends[-2]
        _Bounds.of, _Bounds.spans = weakref.ref(bounds), list(pairwise(ends))
    return _Bounds.spans
