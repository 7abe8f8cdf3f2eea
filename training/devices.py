"""The GPUs that forecasts know: dense bfloat16 peak, memory, and how fast they move bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, replace

from training.errors import TrainingError

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU as its maker's data sheet has it; `link` is the way to its neighbours, one direction.

    `teraflops` is the dense bfloat16 peak with float32 accumulation, `memory` what programs find in GiB,
    `bandwidth` and `link` are in GB/s.
    """

    name: str
    teraflops: float
    memory: float
    bandwidth: float
    link: float


# Looked for in this order, so that a name of more words comes before the name that it begins with.
KNOWN = (
    Gpu("B200", 2250, 178.0, 8000, 900),
    Gpu("H200", 989, 139.8, 4800, 450),
    Gpu("H100 PCIe", 756, 79.1, 2000, 64),
    Gpu("H100 NVL", 835, 93.1, 3900, 300),
    Gpu("H100", 989, 79.1, 3350, 450),
    Gpu("A100 80GB", 312, 79.1, 2039, 300),
    Gpu("A100", 312, 39.4, 1555, 300),
    Gpu("L40S", 362, 44.4, 864, 32),
    Gpu("L4", 121, 22.0, 300, 32),
    Gpu("A10G", 70, 22.0, 600, 32),
    Gpu("A10", 125, 22.0, 600, 32),
    Gpu("RTX 5090", 210, 31.4, 1792, 64),
    Gpu("RTX 4090", 165, 23.5, 1008, 32),
    Gpu("RTX 3090", 71, 23.6, 936, 32),
)


def known_gpu(name: str) -> Gpu | None:
    """Return the GPU whose name's words are all in `name` (a driver's or a user's, in any case), or None."""
    return next((gpu for gpu in KNOWN if _words(gpu.name) <= _words(name)), None)


def gpu_named(name: str) -> Gpu:
    """Return the GPU of that name; TrainingError lists those that are known."""
    found = known_gpu(name)
    if found is None:
        names = ", ".join(gpu.name for gpu in KNOWN)
        raise TrainingError(f"{name!r} is no GPU that forecasts know; there are {names}")
    return found


def gpu_here() -> Gpu | None:
    """Return the first GPU that programs here may use, with the memory that it really has; None without one
    that is known.

    It asks nvidia-smi: torch would take seconds to import.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    if first := os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0]:
        query.append(f"--id={first}")
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True).stdout
        name, megabytes = told.splitlines()[0].rsplit(",", 1)
        found = known_gpu(name)
        return replace(found, memory=int(megabytes) / 1024) if found else None
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def _words(name: str) -> set[str]:
    return set(name.lower().replace("-", " ").replace("_", " ").split())
