"""Several LoRA adapters of one base in one process, chosen row by row (TGI's multi-LoRA)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from hub_tools.endpoints.server.options import EndpointServerError
from hub_tools.endpoints.server.source import Source

_NO_ADAPTER = "__base__"  # PEFT's word for a row without one


class RowAdapters:
    """Which adapter each row of the next forward pass uses; PEFT's layers ask here.

    `PeftModel.forward(adapter_names=…)` does the same, but hooks and unhooks every layer for every token.
    """

    def __init__(self, sources: Mapping[str, Source]) -> None:
        # PEFT uses the name as a module's name, which may hold no dot; repository names may.
        self._internal = {name: f"adapter_{number}" for number, name in enumerate(sources)}
        self._sources = sources
        self._rows: list[str] = []
        self._masks: dict[str, torch.Tensor] = {}
        self.steady = True  # whether a row's numbers are the same with others of other adapters beside it

    def attach(self, network: Any) -> None:
        """Load the adapters into a network; raises `EndpointServerError` for one that does not fit."""
        from peft import PeftModel
        from peft.tuners.lora import Linear, LoraLayer
        from peft.utils.other import AuxiliaryTrainingWrapper

        wrapped: Any = None
        device = str(network.device)  # PEFT would take a GPU if there is one, wherever the base is
        for name, internal in self._internal.items():
            folder = self._sources[name].folder
            try:
                if wrapped is None:
                    wrapped = PeftModel.from_pretrained(network, folder, internal, torch_device=device)
                else:
                    wrapped.load_adapter(folder, internal, torch_device=device)
            except (ValueError, RuntimeError, KeyError) as error:
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                raise EndpointServerError(f"adapter {name} cannot be loaded: {reason}") from error
        for module in network.modules():
            if isinstance(module, Linear):
                module.register_forward_pre_hook(self._tell_base, with_kwargs=True)
                module.register_forward_hook(self._add)
            elif isinstance(module, (LoraLayer, AuxiliaryTrainingWrapper)):
                self.steady = False
                module.register_forward_pre_hook(self._tell, with_kwargs=True)

    def choose(self, names: Sequence[str | None], device: torch.device) -> None:
        """Set the adapter of every row, by the name clients use (None: the base alone)."""
        self._rows = [self._internal[name] if name else _NO_ADAPTER for name in names]
        self._masks = {
            used: torch.tensor([row == used for row in self._rows], device=device)[:, None, None]
            for used in set(self._rows) - {_NO_ADAPTER}
        }

    def _tell(self, module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**kwargs, "adapter_names": self._rows}

    def _tell_base(self, module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**kwargs, "adapter_names": [_NO_ADAPTER] * len(self._rows)}

    def _add(self, module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
        """What each adapter adds to a linear layer's output, computed for all rows and kept for its own.

        PEFT computes it for an adapter's own rows only, and how many those are changes how sums are rounded.
        """
        for name, mask in self._masks.items():
            if name in module.lora_A:
                first, second = module.lora_A[name], module.lora_B[name]
                added = second(first(args[0].to(first.weight.dtype))) * module.scaling[name]
                output = torch.where(mask, output + added.to(output.dtype), output)
        return output
