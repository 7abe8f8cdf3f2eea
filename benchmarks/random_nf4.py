"""Random weights in 4 bits for a model on the meta device, layer by layer: 70B fits on one GPU."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def in_four_bits(model: Any, where: str, dtype: Any) -> Any:
    import torch
    from bitsandbytes.nn import Linear4bit, Params4bit
    from transformers.quantizers.auto import AutoHfQuantizer

    from training.methods import _keep_layout, four_bit

    head = model.get_output_embeddings()
    for name, old in list(model.named_modules()):
        if not isinstance(old, torch.nn.Linear) or old is head:
            continue
        new = Linear4bit(
            old.in_features, old.out_features, bias=False, compute_dtype=dtype, compress_statistics=True,
            quant_type="nf4", quant_storage=dtype, device="meta",
        )  # fmt: skip
        numbers = 0.02 * torch.randn(old.out_features, old.in_features, dtype=dtype, device=where)
        new.weight = Params4bit(
            numbers, requires_grad=False, compress_statistics=True, quant_type="nf4", quant_storage=dtype
        ).to(where)
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, new)
    for module in model.modules():
        for key, value in list(module._parameters.items()):
            if value is not None and value.is_meta:
                filled = torch.ones if value.ndim == 1 else lambda *s, **k: 0.02 * torch.randn(*s, **k)
                made = filled(*value.shape, dtype=dtype, device=where)
                module._parameters[key] = torch.nn.Parameter(made, requires_grad=False)
        rotary = getattr(module, "inv_freq", None)
        if rotary is not None and rotary.is_meta:
            fresh = type(module)(config=model.config).to(where)
            module.inv_freq, module.original_inv_freq = fresh.inv_freq, fresh.inv_freq
    model.config.quantization_config = four_bit(dtype)
    model.is_loaded_in_4bit = model.is_quantized = True
    model.hf_quantizer = AutoHfQuantizer.from_config(four_bit(dtype), pre_quantized=False)
    model.quantization_method = "bitsandbytes"
    _keep_layout(model)
    return model
