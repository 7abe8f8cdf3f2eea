"""Settings of the running process: quiet libraries, threads, and an allocator that keeps its pages."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import sys
import warnings
from collections.abc import Iterator

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
NOISY = ("trl", "accelerate", "peft", "bitsandbytes", "torchao", "torch.utils._pytree")
KEEP_BYTES = 2**31 - 1  # mallopt takes an int


def keep_freed_memory() -> bool:
    """Let glibc reuse freed blocks instead of handing them back to the kernel; False without mallopt.

    Every training step frees and takes the same hundreds of megabytes, and faulting the pages in again costs
    CPU time. Lasts until the process ends.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is None:
        return False
    return bool(mallopt(M_TRIM_THRESHOLD, KEEP_BYTES)) and bool(mallopt(M_MMAP_THRESHOLD, KEEP_BYTES))


def wait_passively() -> None:
    """Let torch's idle threads sleep instead of spinning; without effect once torch is imported.

    Where other programs want the same cores, spinning threads slow a training down up to eightfold.
    """
    if "torch" not in sys.modules:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back the libraries' progress bars and advice: the caller shows progress and raises what counts."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # TRL reports every trainer that is built
    others = {name: logging.getLogger(name) for name in NOISY}
    levels = {name: logger.level for name, logger in others.items()}
    for logger in others.values():  # before the imports below, at which some speak up already
        logger.setLevel(logging.ERROR)
    from transformers.utils import logging as hf_logging

    level, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        hf_logging.set_verbosity(level)
        if bars:
            hf_logging.enable_progress_bar()
        for name, logger in others.items():
            logger.setLevel(levels[name])


@contextlib.contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """Run torch on that many threads and put the old number back; None leaves torch's own choice."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def grow_segments() -> None:
    """Let torch's memory on a GPU grow in place, which leaves next to no fragments where lengths vary;
    without effect once torch has taken memory there.
    """
    if "PYTORCH_CUDA_ALLOC_CONF" not in os.environ:
        os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")


@contextlib.contextmanager
def plainly_on_cpu(compiled: bool = False) -> Iterator[None]:
    """Compile nothing that nobody asked for where there is no GPU: it takes longer than these trainings do,
    and a C++ compiler.
    """
    import torch

    if compiled or torch.cuda.is_available():
        yield
    else:
        with torch.compiler.set_stance("force_eager"):
            yield
