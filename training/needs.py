"""What settings need of this machine, checked before anything is downloaded for them."""

from __future__ import annotations

import importlib.util

from training import methods, slurm
from training.errors import TrainingError
from training.settings import TrainSettings

LIGER = "liger_kernel"  # fused layers, on a GPU


def installed(package: str) -> bool:
    """Return whether a package can be imported here, without importing it."""
    return importlib.util.find_spec(package) is not None


def check_needs(settings: TrainSettings) -> None:
    """Refuse settings that need a package or a GPU that is not here.

    Raises:
        TrainingError: one line names the setting and the way out.
    """
    if settings.rounds_by_chance:
        _check_package("torchao", "weights is bfloat16")
    if settings.float8:
        _check_package("torchao", "float8 is on")
        _check_float8()
    if settings.tracker not in ("auto", "none"):
        _check_package(settings.tracker, f"tracker is {settings.tracker}")
    if settings.processes > 1:
        _check_sharding(settings)
    if methods.device() == "cuda" and installed("triton") and not methods.builds_kernels():
        raise TrainingError(
            "a training on a GPU builds its kernels when it starts, which needs a C compiler and Python's "
            "headers: apt-get install gcc python3-dev, or what your system calls them"
        )


def _check_package(package: str, setting: str) -> None:
    if not installed(package):
        raise TrainingError(
            f"{setting}, which needs a package: pip install {package}, or leave the setting out"
        )


def _check_float8() -> None:
    import torch

    if methods.device() == "cpu" or torch.cuda.get_device_capability() < (8, 9):
        raise TrainingError(
            "float8 is on, which needs a GPU of compute capability 8.9 (Ada, Hopper, or newer); leave it out"
        )


def _check_sharding(settings: TrainSettings) -> None:
    on_cpu = methods.device() == "cpu"
    if settings.sharding != "ddp" and on_cpu:
        raise TrainingError(
            f"sharding is {settings.sharding}, which needs GPUs; on a CPU set it to ddp (with make: "
            "SET='sharding=ddp')"
        )
    if settings.sharding == "zero3" and not installed("deepspeed"):
        raise TrainingError(
            "sharding is zero3, which needs a package: pip install deepspeed, or take fsdp2, which needs none"
        )
    slurm.check_allocation(settings.processes)
    if not on_cpu:
        _check_gpus(settings.processes)


def _check_gpus(processes: int) -> None:
    machines, gpus = slurm.machines(), methods.gpus()
    if processes > machines * gpus:
        here = f"{gpus} here" + (f" and on each of {machines} machines" if machines > 1 else "")
        raise TrainingError(
            f"{processes} processes need a GPU each, but there are {here}; set processes (with make: GPUS) "
            f"to {machines * gpus}"
        )
