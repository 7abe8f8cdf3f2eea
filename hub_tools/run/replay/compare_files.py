"""Compares the files of a model that is published with those that a replay made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset_cards.escape import visible
from hub_tools.hub.digests import sha256
from hub_tools.run.replay.compare_values import one_line

CHUNK = 1 << 22


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A file of a model, held against its replay.

    For weights that differ: how many `tensors` do, the `first` of them, and the `largest` absolute difference
    of two numbers (None where that is no number). `problem` says what else is wrong.
    """

    name: str
    same_bytes: bool
    as_stated: bool
    tensors: int = 0
    first: str = ""
    largest: float | None = None
    problem: str = ""

    @property
    def identical(self) -> bool:
        """Whether the bytes are the same."""
        return self.same_bytes


def compare_file(name: str, published: Path | None, replayed: Path | None, stated: str | None) -> ModelFile:
    """Compare one file of a model; weights that differ are read tensor by tensor."""
    now = sha256(replayed) if replayed else None
    told: dict[str, Any] = {"name": name, "as_stated": now is not None and now == stated}
    if published is None or replayed is None:
        problem = f"it is only {'in the replay' if replayed else 'on the Hub'}"
        return ModelFile(**told, same_bytes=False, problem=problem)
    if sha256(published) == now:
        return ModelFile(**told, same_bytes=True)
    if not name.endswith(".safetensors"):
        return ModelFile(**told, same_bytes=False, problem="its bytes differ")
    return ModelFile(**told, same_bytes=False, **_tensors(published, replayed))


def _tensors(published: Path, replayed: Path) -> dict[str, Any]:
    """Compare two safetensors files, one tensor in memory at a time."""
    from safetensors import SafetensorError, safe_open

    unlike: list[str] = []
    largest = 0.0
    try:
        with safe_open(published, "pt") as old, safe_open(replayed, "pt") as new:
            names = sorted({*old.keys(), *new.keys()})
            for name in names:
                both = name in old.keys() and name in new.keys()  # noqa: SIM118  (it is no mapping)
                apart = _apart(old.get_tensor(name), new.get_tensor(name)) if both else math.inf
                if apart is not None:
                    unlike.append(name)
                    largest = max(largest, apart)
    except (SafetensorError, OSError, ValueError) as error:
        return {"problem": f"the published weights cannot be read: {one_line(error)}"}
    if not unlike:
        return {"problem": "its header differs; all tensors are the same"}
    return {
        "tensors": len(unlike),
        "first": visible(unlike[0]),
        "largest": largest if math.isfinite(largest) else None,
    }


def _apart(old: Any, new: Any) -> float | None:
    """Return the largest absolute difference of two tensors: None without any, infinity for no number."""
    import torch

    if old.shape != new.shape or old.dtype != new.dtype:
        return math.inf
    largest = 0.0
    same = True
    for some, other in zip(old.flatten().split(CHUNK), new.flatten().split(CHUNK), strict=True):
        if torch.equal(some.view(torch.uint8), other.view(torch.uint8)):
            continue
        same = False
        apart = (some.double() - other.double()).abs()
        largest = max(largest, float(torch.nan_to_num(apart, nan=math.inf, posinf=math.inf).max()))
    return None if same else largest
