"""The causal language model: loading, one forward pass, and what the rest may know about it."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any

import torch

from hub_tools.endpoints.server.adapters import RowAdapters
from hub_tools.endpoints.server.options import EndpointServerError, ServerOptions
from hub_tools.endpoints.server.placement import check_room, place
from hub_tools.endpoints.server.source import Source, Sources
from hub_tools.endpoints.server.steady import Logits, SteadyRows, steady_widths

logger = logging.getLogger(__name__)

LARGEST_DEFAULT_TOTAL = 8192


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory, with what requests are checked against."""

    network: Any
    tokenizer: Any
    source: Source
    adapters: Mapping[str, Source]
    row_adapters: RowAdapters | None
    device: torch.device
    dtype: torch.dtype
    eos_ids: frozenset[int]
    max_total_tokens: int
    steady: SteadyRows | None = None

    def width(self, rows: int) -> int:
        """How many rows to compute for so many: more, where that keeps their numbers the same."""
        return self.steady.width(rows) if self.steady else rows

    def forward(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor | None,
        positions: torch.Tensor,
        cache: Any,
        adapters: Sequence[str | None],
        *,
        every_position: bool = False,
        starts: Sequence[int] | None = None,
    ) -> torch.Tensor:
        """Logits of shape (rows, 1, vocabulary), or (rows, tokens, vocabulary) with `every_position`.

        `starts` are the rows' first columns in the cache, for a model with `steady` rows.
        """
        if self.steady is not None:
            self.steady.own(starts)
        if self.row_adapters is not None:
            self.row_adapters.choose(adapters, self.device)
        output = self.network(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=0 if every_position else 1,
        )
        logits: torch.Tensor = output.logits
        return logits


def load(options: ServerOptions, sources: Sources) -> LoadedModel:
    """Load base, tokenizer and adapters; raises `EndpointServerError` for whatever cannot be served."""
    source, adapters = sources.base, sources.adapters
    torch.set_num_threads(options.threads or max(1, (os.cpu_count() or 1) - 1))
    row_adapters = RowAdapters(adapters) if adapters else None
    device, dtype = place(options)
    check_room(source, device, dtype)
    network, tokenizer = _load_files(source, device, dtype)
    total = _total_tokens(network.config, options.max_total_tokens)
    eos_ids = _eos_ids(network, tokenizer)
    _check_attention(network, source)
    if row_adapters is not None:
        row_adapters.attach(network)
    network.eval()
    model = LoadedModel(network, tokenizer, source, adapters, row_adapters, device, dtype, eos_ids, total)
    return _steadied(model, options.max_batch_size)


def _steadied(model: LoadedModel, full: int) -> LoadedModel:
    """The model with steady rows, where they cost little and were seen to be steady."""
    from transformers import DynamicCache

    if model.device.type != "cpu" or full == 1:
        return model
    if model.row_adapters is not None and not model.row_adapters.steady:
        return model

    def logits_with(adapter: str | None) -> Logits:
        def logits(tokens: Sequence[int]) -> torch.Tensor:
            ids = torch.tensor(tokens).unsqueeze(1)
            with torch.inference_mode():
                return model.forward(
                    ids, None, torch.zeros_like(ids), DynamicCache(), [adapter] * len(tokens)
                )

        return logits

    config = model.network.config.get_text_config(decoder=True)
    every = [logits_with(adapter) for adapter in (None, *model.adapters)]
    widths = steady_widths(config, full, config.vocab_size, every)
    if not widths:
        return model
    steady = SteadyRows(widths)
    steady.install(model.network)
    return replace(model, steady=steady)


def _load_files(source: Source, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.folder, trust_remote_code=False)
        if "sanitize_control_tokens" not in signature(tokenizer.apply_chat_template).parameters:
            # An older one would take the word for a template variable, and control tokens from anybody.
            raise EndpointServerError(
                "transformers is too old to keep control tokens apart; install 5.20 or later."
            )
        network = AutoModelForCausalLM.from_pretrained(
            source.folder,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            attn_implementation="sdpa",
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise EndpointServerError(f"model {source.name} cannot be loaded: {reason}") from error
    return network.to(device), tokenizer


def _check_attention(network: Any, source: Source) -> None:
    kinds = set(getattr(network.config.get_text_config(decoder=True), "layer_types", None) or ())
    others = kinds - {"full_attention", "sliding_attention"}
    if others or getattr(network, "_is_stateful", False):
        what = ", ".join(sorted(others)) or "recurrent layers"
        raise EndpointServerError(f"model {source.name} has {what}; only attention layers are served.")


def _total_tokens(config: Any, asked: int | None) -> int:
    """Longest prompt plus answer; attention here has no window, so a windowed model is held to its window."""
    text = config.get_text_config(decoder=True)
    limits = [getattr(text, "max_position_embeddings", None), getattr(text, "sliding_window", None)]
    longest = min([limit for limit in limits if limit], default=LARGEST_DEFAULT_TOTAL)
    if asked is None:
        return min(longest, LARGEST_DEFAULT_TOTAL)
    if asked > longest or asked < 2:
        raise EndpointServerError(f"max_total_tokens is {asked}; this model takes 2 to {longest}.")
    return asked


def _eos_ids(network: Any, tokenizer: Any) -> frozenset[int]:
    ids = {tokenizer.eos_token_id}
    for config in (network.generation_config, network.config):
        found = getattr(config, "eos_token_id", None)
        ids.update(found if isinstance(found, list) else [found])
    return frozenset(token for token in ids if token is not None)
