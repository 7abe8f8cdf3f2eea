"""Where a model goes: its device, the type of its numbers, and whether there is room for them."""

from __future__ import annotations

from math import prod
from pathlib import Path

import torch

from hub_tools.endpoints.server.options import EndpointServerError, ServerOptions
from hub_tools.endpoints.server.source import Source

_MEMORY = Path("/proc/meminfo")


def place(options: ServerOptions) -> tuple[torch.device, torch.dtype]:
    """The device and type that were asked for, or the best there are; raises `EndpointServerError`.

    CPUs without bfloat16 units run it several times slower than float32, so by itself it is for GPUs only.
    """
    if options.device == "cuda" and not torch.cuda.is_available():
        raise EndpointServerError("device is cuda, but torch finds no GPU here; use --device cpu.")
    on_gpu = options.device != "cpu" and torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    if options.dtype != "auto":
        return device, getattr(torch, options.dtype)
    if not on_gpu:
        return device, torch.float32
    return device, torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def works(device: torch.device) -> bool:
    """Whether anything can still be computed there; after some errors a GPU refuses a process for good."""
    try:
        return int(torch.ones(1, device=device).sum()) == 1
    except RuntimeError:
        return False


def check_room(source: Source, device: torch.device, dtype: torch.dtype) -> None:
    """Raise `EndpointServerError` if the weights alone are larger than the memory that is free."""
    needed, free = _parameters(source.folder) * dtype.itemsize, _free_bytes(device)
    if free is not None and needed > free:
        kind = str(dtype).removeprefix("torch.")
        raise EndpointServerError(
            f"model {source.name} needs {needed / 1e9:.1f} GB as {kind}, and {free / 1e9:.1f} GB of the "
            f"{device.type}'s memory are free; serve a smaller model, or a smaller --dtype."
        )


def _parameters(folder: Path) -> int:
    from safetensors import SafetensorError, safe_open

    total = 0
    for file in folder.glob("*.safetensors"):
        try:
            with safe_open(file, "pt") as tensors:
                total += sum(prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
        except SafetensorError as error:
            raise EndpointServerError(f"{file.name} is no whole safetensors file: {error}") from error
    return total


def _free_bytes(device: torch.device) -> int | None:
    """Memory that can still be had, None where the system does not say."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = _MEMORY.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
