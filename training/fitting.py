"""Fits a training to a GPU: checkpointing and micro-batch are chosen so that it is fast and has room."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from training.devices import GIB, Gpu
from training.forecast import Memory, Optimizer, Speed, Workload, memory, speed
from training.needs import LIGER, installed
from training.settings import TrainSettings
from training.shapes import Shape
from training.throughput import told

ROOM = 0.95  # of the GPU's memory; fragments take the rest
LARGEST = 16  # pairs (or packs) in a micro-batch that are worth trying
SHARES = (0.25, 0.5, 0.75)  # of the layers, that may compute their activations again, beside none and all
OFFLOADED = 0.95  # what is believed of the speed where activations leave the GPU
WORTH_COMPILING = 600  # seconds of a training; compiling takes one or two minutes


@dataclass(frozen=True, slots=True)
class Forecast:
    """What one training will take on that GPU; `seconds` is upper-bound time if `pair_tokens` is None."""

    settings: TrainSettings
    shape: Shape
    gpu: Gpu
    memory: Memory
    speed: Speed
    accumulation: int
    pair_tokens: float | None

    @property
    def fits(self) -> bool:
        """Whether the GPU has the memory, with some room left for fragments, or what may be filled of it."""
        room = min(ROOM * self.gpu.memory, self.settings.gpu_memory or math.inf)
        return self.memory.total <= room * GIB

    @property
    def seconds(self) -> float:
        """Time of all steps, without loading, evaluations and checkpoints."""
        return self.settings.steps * self.speed.step_seconds

    def lines(self) -> list[str]:
        """Return the forecast as a person reads it: what is trained and how, memory by part, speed."""
        settings, parts = self.settings, self.memory
        many = f"{settings.processes} {self.gpu.name}"
        named = ("weights", "gradients", "optimizer", "activations", "loss", "framework")
        filled = " + ".join(f"{name} {getattr(parts, name) / GIB:.1f}" for name in named)
        verdict = "fits" if self.fits else self._way_out()
        length = (
            f"{self.pair_tokens:.0f} tokens a pair, as in a sample"
            if self.pair_tokens
            else f"{settings.max_length} tokens a pair, the most there can be"
        )
        return [
            f"{_counted(self.shape.parameters)} parameters, {settings.method}, on {many}"
            + (f" ({settings.sharding})" if settings.processes > 1 else ""),
            f"micro-batch {settings.micro_batch}, accumulation {self.accumulation}, "
            f"checkpointing {self._checkpointing()}, "
            f"{settings.batch_size} pairs a step of up to {settings.max_length} tokens each",
            f"GiB a GPU: {filled} = {parts.total / GIB:.1f} of {self.gpu.memory:.1f}: {verdict}",
            f"{self.speed.tokens_per_second:,.0f} tokens/s, MFU {self.speed.mfu:.0%}, "
            f"{settings.steps} steps in {told(self.seconds)} at {length}",
            f"Layers are {self._layers()}. Fitted to runs on one H100, within 10 % of each; on other GPUs "
            "and across several it is arithmetic from data sheets.",
        ]

    def _checkpointing(self) -> str:
        if not self.settings.gradient_checkpointing:
            return "off"
        some = self.settings.checkpointed_layers
        how = f"of {some} of {self.shape.layers} layers" if some else "on"
        return how + (" off the GPU" if self.settings.offload_activations else "")

    def _layers(self) -> str:
        if self.settings.compile_layers:
            return "compiled" + (", their products in float8" if self.settings.float8 else "")
        return "fused" if installed(LIGER) else "plain: liger-kernel is not installed here"

    def _way_out(self) -> str:
        if self.settings.method == "full":
            return "does not fit; take method qlora, weights bfloat16, or more GPUs with sharding fsdp2"
        if self.settings.method == "lora":
            return "does not fit; take method qlora, a smaller max_length, or more GPUs with sharding fsdp2"
        return "does not fit; take a smaller max_length, or more GPUs with sharding fsdp2"


def forecast(settings: TrainSettings, shape: Shape, gpu: Gpu, pair_tokens: float | None = None) -> Forecast:
    """Forecast a training on that GPU; what its settings leave open is chosen as `choose` does."""
    return _forecast(choose(settings, shape, gpu, pair_tokens), shape, gpu, pair_tokens)


def choose(
    settings: TrainSettings, shape: Shape, gpu: Gpu, pair_tokens: float | None = None
) -> TrainSettings:
    """Fill in the micro-batch and the checkpointing that are fastest among those that fit, and compile what
    runs for long enough.

    What the settings name is kept, and a step has the same pairs whatever is chosen. Where nothing fits, it
    is what takes least memory.
    """
    if settings.compile_layers is not None:
        return _fastest(settings, shape, gpu, pair_tokens).settings
    compiled, plain = (settings.model_copy(update={"compile_layers": on}) for on in (True, False))
    found = _fastest(compiled, shape, gpu, pair_tokens)
    worth_it = settings.float8 or found.seconds > WORTH_COMPILING
    if worth_it and not settings.split:  # split layers gather weights as they go
        return found.settings
    return _fastest(plain, shape, gpu, pair_tokens).settings


def _fastest(settings: TrainSettings, shape: Shape, gpu: Gpu, pair_tokens: float | None) -> Forecast:
    tried = [_forecast(one, shape, gpu, pair_tokens) for one in _candidates(settings, shape.layers)]
    fitting = [found for found in tried if found.fits]
    if fitting:
        return max(fitting, key=_preferred)
    return min(tried, key=lambda found: found.memory.total)


def _preferred(found: Forecast) -> float:
    """Return the speed by which one is preferred: memory of the machine is taken for a clear gain alone."""
    return found.speed.tokens_per_second * (OFFLOADED if found.settings.offload_activations else 1.0)


def workload(settings: TrainSettings, shape: Shape, pair_tokens: float | None = None) -> Workload:
    """Return settings whose micro-batch and checkpointing are chosen as the forecast takes them.

    With `pair_tokens` it is the usual micro-batch, for speed; without it the largest, for memory.
    """
    assert settings.micro_batch is not None
    length = min(pair_tokens or settings.max_length, settings.max_length)
    in_bfloat16 = settings.rounds_by_chance
    optimizer: Optimizer = "adamw_torch_8bit" if in_bfloat16 else "adamw"
    adapters = dropped = 0
    if settings.method != "full":
        adapters = shape.adapters(settings.lora_rank, settings.lora_targets)
        dropped = shape.inputs(settings.lora_targets) if settings.lora_dropout else 0
    tokens = settings.micro_batch * (settings.max_length if settings.packing else length)
    return Workload(
        shape=shape,
        method=settings.method,
        tokens=round(tokens),
        length=length,
        accumulation=_accumulation(settings, length),
        checkpointing="full" if settings.gradient_checkpointing else "none",
        checkpointed_layers=settings.checkpointed_layers,
        offload=bool(settings.offload_activations),
        float8=settings.float8,
        trained="bfloat16" if in_bfloat16 else "float32",
        optimizer=optimizer,
        fused=bool(settings.compile_layers) or installed(LIGER),
        adapters=adapters,
        dropped=dropped,
        processes=settings.processes,
        sharding=settings.sharding,
    )


def _counted(parameters: float) -> str:
    return f"{parameters / 1e9:.2f} B" if parameters >= 1e8 else f"{parameters / 1e6:.1f} M"


def _forecast(settings: TrainSettings, shape: Shape, gpu: Gpu, pair_tokens: float | None) -> Forecast:
    usual = workload(settings, shape, pair_tokens)
    return Forecast(
        settings=settings,
        shape=shape,
        gpu=gpu,
        memory=memory(workload(settings, shape)),
        speed=speed(usual, gpu),
        accumulation=usual.accumulation,
        pair_tokens=pair_tokens,
    )


def _candidates(settings: TrainSettings, layers: int) -> Iterator[TrainSettings]:
    share = max(1, settings.batch_size // settings.processes)
    sizes = [size for size in range(1, LARGEST + 1) if settings.packing or share % size == 0]
    micro = [settings.micro_batch] if settings.micro_batch else sizes
    for size, (on, some, away) in itertools.product(micro, _checkpointings(settings, layers)):
        changes = {"micro_batch": size, "gradient_checkpointing": on, "checkpointed_layers": some}
        yield settings.model_copy(update=changes | {"offload_activations": away})


def _checkpointings(settings: TrainSettings, layers: int) -> list[tuple[bool, int | None, bool]]:
    """Return ways to checkpoint: whether, how many layers (None: all), and whether off the GPU."""
    on, some = settings.gradient_checkpointing, settings.checkpointed_layers
    away = settings.offload_activations
    if some or on is not None:
        return [(on is not False, some, bool(away))]
    shares = {round(share * layers) for share in SHARES} - {0, layers}
    found = [(False, None, False), *((True, share, False) for share in sorted(shares)), (True, None, False)]
    if away or (away is None and not settings.split):
        found.append((True, None, True))
    return found if not away else found[-1:]


def _accumulation(settings: TrainSettings, length: float) -> int:
    assert settings.micro_batch is not None
    share = max(1, settings.batch_size // settings.processes)
    if settings.packing:
        return math.ceil(share * length / (settings.micro_batch * settings.max_length))
    return math.ceil(share / settings.micro_batch)
