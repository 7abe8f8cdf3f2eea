"""What breaks a training from outside, told in one line: memory that runs out, a disk that is full."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from training import checkpoints
from training.errors import NotCompiled, OutOfMemory, TrainingError, one_line

# What CUDA, its libraries, Triton, the compiler and torch on a CPU say where there is no memory left.
NO_MEMORY = ("out of memory", "alloc_failed", "defaultcpuallocator")
TORCH_WRITES = ("inline_container", "PytorchStreamWriter", "write(): ")  # in what it raises where it cannot


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Raise a TrainingError where memory runs out, the disk while a checkpoint goes to `folder`, or where
    layers cannot be compiled.
    """
    try:
        yield
    except TrainingError:
        raise
    except Exception as error:
        failure = _memory(error) or _compiler(error) or _disk(error, folder)
        if failure is None:
            raise
        raise failure from None


@contextmanager
def written_whole() -> Iterator[None]:
    """Raise a TrainingError where the trained model cannot be written."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"the trained model could not be written ({one_line(error)}); free room on the disk and start "
            "again: nothing is trained twice"
        ) from error


def release_memory() -> None:
    """Give back what nobody refers to any more: a trainer and its model hold each other, on a GPU too, and an
    error holds both until it has been dealt with.
    """
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def release_gpu() -> None:
    """Give back a GPU's memory; without one nothing is done: it takes a third of a second."""
    import torch

    if torch.cuda.is_available():
        release_memory()


def _memory(error: Exception) -> OutOfMemory | None:
    import torch

    told = isinstance(error, RuntimeError) and any(word in str(error).lower() for word in NO_MEMORY)
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or told:
        return OutOfMemory(f"out of memory: {one_line(error)}")
    return None


def _compiler(error: Exception) -> NotCompiled | None:
    from training.compiled import failed_to_compile

    if not failed_to_compile(error):
        return None
    return NotCompiled(f"torch cannot compile here ({type(error).__name__}: {one_line(error)})")


def _disk(error: Exception, folder: Path) -> TrainingError | None:
    """Return the failure where a checkpoint could not be written, whichever of several libraries did."""
    from safetensors import SafetensorError

    by_torch = isinstance(error, RuntimeError) and any(word in str(error) for word in TORCH_WRITES)
    if not (by_torch or isinstance(error, (OSError, SafetensorError))):
        return None
    cut_off = checkpoints.remove_cut_off(folder)
    if not cut_off:
        return None
    last = checkpoints.newest(folder)
    on = f"it goes on from step {checkpoints.step_of(last)}" if last else "it has no earlier checkpoint"
    return TrainingError(
        f"the checkpoint of step {cut_off[-1]} could not be written ({one_line(error)}); free room on the "
        f"disk and start again: {on}"
    )
