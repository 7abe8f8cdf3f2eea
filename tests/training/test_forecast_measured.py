"""Forecasts stand beside what was measured on one H100 of 80 GB: sequences of 2048 tokens, TRL's trainer."""

from __future__ import annotations

import pytest

from training.devices import GIB, gpu_named
from training.forecast import Workload, memory, speed
from training.shapes import Shape

SMALL = Shape(32000, 4096, 11008, 32, 32, 32, 128, tied=False)
LARGE = Shape(32000, 8192, 28672, 80, 64, 8, 128, tied=False)
H100 = gpu_named("H100")


def full(micro: int, accumulation: int = 1, **changes: object) -> Workload:
    settings = {
        "shape": SMALL,
        "method": "full",
        "tokens": micro * 2048,
        "length": 2048,
        "accumulation": accumulation,
        "trained": "bfloat16",
        "optimizer": "adamw_8bit",
        "fused": True,
    }
    return Workload(**settings | changes)  # type: ignore[arg-type]


def qlora(micro: int, accumulation: int = 1, shape: Shape = SMALL, **changes: object) -> Workload:
    own = {"method": "qlora", "shape": shape, "adapters": shape.adapters(64)}
    return full(micro, accumulation, **own | changes)


# What ran, its tokens a second, its MFU in per cent, and torch's peak in GiB.
MEASURED = {
    "plain layers": (full(8, fused=False), 7774, 32.4, 42.0),
    "fused layers": (full(8), 9847, 41.1, 40.7),
    "packed": (full(8, length=470), 9972, 40.3, 40.7),
    "selective": (full(8, checkpointing="selective"), 10040, 41.9, 40.7),
    "kept activations": (full(2, checkpointing="none"), 7755, 32.3, 43.5),
    "float32 weights": (full(4, trained="float32"), 7724, 32.2, 64.8),
    "4-bit": (qlora(8), 10096, 29.6, 11.0),
    "4-bit, kept activations": (qlora(4, checkpointing="none"), 12876, 37.8, 37.2),
    "4-bit 70B": (qlora(8, shape=LARGE), 1238, 36.0, 63.2),
    "batch 32": (full(4, 8, checkpointing="none"), 13043, 54.4, 72.1),
    "batch 32, stochastic rounding": (
        full(4, 8, checkpointing="none", optimizer="adamw_torch_8bit"),
        12847,
        53.6,
        71.4,
    ),
    "batch 32, packed": (full(4, 8, checkpointing="none", length=471), 12968, 52.5, 72.1),
    "batch 32, selective": (full(8, 4, checkpointing="selective"), 10908, 45.5, 49.0),
    "batch 32, 4-bit": (qlora(8, 4, checkpointing="none"), 14606, 42.8, 70.1),
}


@pytest.mark.parametrize("name", MEASURED)
def test_speed_and_memory_are_within_a_tenth_of_the_measured(name: str) -> None:
    work, tokens, mfu, peak = MEASURED[name]
    found = speed(work, H100)
    assert found.tokens_per_second == pytest.approx(tokens, rel=0.10)
    assert 100 * found.mfu == pytest.approx(mfu, rel=0.10)
    assert memory(work).allocated / GIB == pytest.approx(peak, rel=0.10)


# The same on an H200, whose memory is larger and faster, with compiled layers and varlen attention.
ON_H200 = {
    "stochastic rounding": (full(8, 4, checkpointing="none", optimizer="adamw_torch_8bit"), 13390, 104.0),
    "4-bit, dropout": (
        qlora(8, 4, checkpointing="none", optimizer="adamw", dropped=SMALL.inputs()),
        15953,
        105.7,
    ),
}


@pytest.mark.parametrize("name", ON_H200)
def test_speed_and_memory_hold_on_another_gpu(name: str) -> None:
    work, tokens, peak = ON_H200[name]
    assert speed(work, gpu_named("H200")).tokens_per_second == pytest.approx(tokens, rel=0.10)
    assert memory(work).allocated / GIB == pytest.approx(peak, rel=0.05)


def test_useful_operations_are_counted_as_the_measurements_counted_them() -> None:
    for work, tokens, mfu, _ in MEASURED.values():
        found = speed(work, H100)
        assert 100 * found.mfu * tokens / found.tokens_per_second == pytest.approx(mfu, abs=0.06)


def test_the_order_of_the_measured_settings_is_kept() -> None:
    names = ["plain layers", "fused layers", "batch 32, selective", "batch 32", "batch 32, 4-bit"]
    found = [speed(MEASURED[name][0], H100).tokens_per_second for name in names]
    assert found == sorted(found)
