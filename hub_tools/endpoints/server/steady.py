"""Keeps a row's numbers the same, to the last bit, whatever else is in the batch, where that costs little.

What makes them differ is the order of additions: matrix products choose it by the number of rows, and
attention by how many columns lie before a row's own. So every row attends to its own columns alone, and a
batch is filled up to a number of rows for which this machine was seen to add as it does for a full batch.
Prompts are read one by one. A GPU would lose too much by it, and keeps the faster way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

# Experts gather their rows anew in every layer, so their products' sizes depend on the company.
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")

Logits = Callable[[Sequence[int]], torch.Tensor]


class SteadyRows:
    """How many rows to compute for how many that are wanted, and attention row by row."""

    def __init__(self, widths: Sequence[int]) -> None:
        self._widths = sorted(widths)
        self._starts: Sequence[int] | None = None

    def width(self, rows: int) -> int:
        """The number of rows to fill a batch of `rows` up to."""
        return next((width for width in self._widths if width >= rows), rows)

    def install(self, network: Any) -> None:
        """Make a network attend through this object."""
        from transformers import AttentionInterface
        from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

        name = f"own_columns_{id(self)}"
        AttentionInterface.register(name, self._attend)
        AttentionMaskInterface.register(name, sdpa_mask)
        network.set_attn_implementation(name)

    def own(self, starts: Sequence[int] | None) -> None:
        """Set each row's first column for the next pass; None for one that reads a prompt."""
        self._starts = starts

    def _attend(
        self,
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        **settings: Any,
    ) -> tuple[torch.Tensor, None]:
        """As `sdpa` has it: (rows, heads, tokens, size) in, (rows, tokens, heads, size) out."""
        from transformers.integrations.sdpa_attention import sdpa_attention_forward as sdpa

        if self._starts is None:
            whole: tuple[torch.Tensor, None] = sdpa(module, query, key, value, mask, **settings)
            return whole
        rows, heads, _, size = query.shape
        # One new token each: the query heads that share a key head stand beside each other as its tokens.
        packed = query.reshape(rows, key.shape[1], -1, size)
        output = torch.zeros_like(packed)  # rows that only fill the batch up stay so
        for row, start in enumerate(self._starts):
            one = slice(row, row + 1)
            output[one] = torch.nn.functional.scaled_dot_product_attention(
                packed[one], key[one, :, start:], value[one, :, start:], scale=settings.get("scaling")
            )
        return output.reshape(rows, 1, heads, size), None


def steady_widths(config: Any, full: int, vocabulary: int, logits: Sequence[Logits]) -> list[int]:
    """Numbers of rows, `full` the largest, for which every row's logits are those of a full batch.

    `logits` compute one token for each row, once for the base and once for each adapter. Empty where a full
    batch already depends on who is in it.
    """
    if any(getattr(config, name, None) for name in _EXPERTS):
        return []
    tokens = [(7 + 31 * place) % vocabulary for place in range(full)]
    widths = {full, *(2**power for power in range(full.bit_length()) if 2**power < full)}
    for compute in logits:
        whole = compute(tokens)
        turned = compute(tokens[1:] + tokens[:1])
        company = compute(tokens[:1] * full)
        if not torch.equal(whole, turned.roll(1, 0)) or not torch.equal(company[-1], whole[0]):
            return []
        widths = {width for width in widths if torch.equal(compute(tokens[:width]), whole[:width])}
    return sorted(widths)
