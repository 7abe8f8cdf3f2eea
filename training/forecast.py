"""Memory and speed of a training before it runs, from the base's shape; fitted to measured runs on one H100.

A forecast is arithmetic: what must lie in memory at the two moments when most of it does (after the forward
pass, after the backward pass), and how long the GPU computes and moves bytes. It knows neither the rows'
lengths, unless told, nor a shared or throttled GPU, nor a network that is slower than its data sheet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from training.devices import GIB, Gpu
from training.shapes import Shape

Dtype = Literal["float32", "bfloat16"]
Optimizer = Literal["adamw", "adamw_8bit", "adamw_torch_8bit"]
Checkpointing = Literal["none", "selective", "full"]
Sharding = Literal["ddp", "fsdp2", "zero3"]

BYTES: dict[Dtype, int] = {"float32": 4, "bfloat16": 2}
NF4_BYTES = 4.127 / 8  # a parameter, its share of the twice quantised scales included
FRAMEWORK = 1.0 * GIB  # CUDA's context and libraries, which torch's own peak does not count

# Fitted to the rows in tests/training/test_forecast_measured.py.
MATMUL = 0.72  # share of the peak that the matrix products reach
TRAFFIC = {True: 2.83, False: 6.7}  # times that a layer's saved bytes move a pass: fused layers, or not
ADAPTER_TRAFFIC = 3.25  # the same for adapters on every linear module, beside the layers' own
DEQUANTISE = 15.3  # bytes moved for each 4-bit parameter a pass
STEP_BANDWIDTH = 0.168  # share of the bandwidth that the optimiser reaches
DROPPED = 2.1  # bytes that adapters with dropout keep of each of their inputs, beside what layers keep
LAUNCH = 3e-4  # seconds a layer and pass beside all that, whatever the size of the micro-batch
FLOAT8 = 1.5  # times that products in float8 are faster, scaling included; not fitted, NeMo's published gain
HOST = 20.0  # GB/s to the machine's memory, not fitted: less than PCIe 4 has
LINK = 0.6  # share of the link's speed that collectives reach


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One training as a forecast sees it: `tokens` in a micro-batch, in sequences of `length` on average.

    `trained` is the dtype of the trained weights (adapters under lora and qlora) and of their gradients;
    `dropped` is the width of all that a layer's adapters drop some of, 0 without dropout.
    """

    shape: Shape
    method: Literal["full", "lora", "qlora"]
    tokens: int
    length: float
    accumulation: int = 1
    checkpointing: Checkpointing = "full"
    checkpointed_layers: int | None = None  # None: all
    offload: bool = False  # of what checkpointing keeps, to the machine's memory
    float8: bool = False
    trained: Dtype = "float32"
    optimizer: Optimizer = "adamw"
    fused: bool = False
    adapters: int = 0
    dropped: int = 0
    processes: int = 1
    sharding: Sharding = "ddp"

    @property
    def trained_parameters(self) -> int:
        """Parameters that the optimiser changes."""
        return self.shape.parameters if self.method == "full" else self.adapters

    @property
    def recomputed(self) -> int:
        """Layers that compute their activations again in the backward pass."""
        if self.checkpointing == "none":
            return 0
        return min(self.shape.layers, self.checkpointed_layers or self.shape.layers)

    @property
    def shards(self) -> int:
        """Over how many GPUs weights, gradients and optimiser states are spread."""
        return 1 if self.sharding == "ddp" else self.processes


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on one GPU at the fullest moment, by what they are; `framework` is not torch's."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    loss: float
    framework: float = FRAMEWORK

    @property
    def allocated(self) -> float:
        """What torch.cuda.max_memory_allocated will say."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.loss

    @property
    def total(self) -> float:
        """What the GPU must have."""
        return self.allocated + self.framework


def memory(work: Workload) -> Memory:
    """Return the peak on one GPU: after the forward pass, or after the backward pass, whichever is more."""
    gradients = work.trained_parameters * BYTES[work.trained] / work.shards
    if work.sharding == "ddp" and work.processes > 1:
        gradients *= 2  # the buckets that are sent
    weights, states = _weights(work), _states(work)
    layer = _layer(work)
    kept = (work.shape.layers - work.recomputed) * work.tokens * _kept(work)
    on_gpu = min(2, work.recomputed) if work.offload else work.recomputed  # one going, one coming
    stored = kept + on_gpu * _stored(work) + (layer if work.recomputed else 0)
    forward = Memory(
        weights + _casts(work), gradients if work.accumulation > 1 else 0.0, states, stored, _loss(work)
    )
    backward = Memory(weights, gradients, states, layer, 0.0)
    return max(forward, backward, key=lambda peak: peak.allocated)


def _weights(work: Workload) -> float:
    shape = work.shape
    if work.method == "full":
        whole: float = shape.parameters * BYTES[work.trained]
    else:
        rest = 2 * (shape.parameters - shape.linear)
        linear = NF4_BYTES if work.method == "qlora" else 2.0
        whole = linear * shape.linear + rest + work.adapters * BYTES[work.trained]
    gathered = 0.0
    if work.shards > 1:  # the unit at work and the one that is fetched meanwhile
        gathered = 2 * 2 * max(shape.linear / shape.layers, shape.embedding)
    return whole / work.shards + gathered


def _states(work: Workload) -> float:
    """Two moments a trained parameter; bitsandbytes keeps those of the embedding in float32."""
    count = work.trained_parameters
    states = 8.0 * count if work.optimizer == "adamw" else 2.0 * count
    if work.optimizer == "adamw_8bit" and work.method == "full":
        states += 6.0 * work.shape.embedding
    return states / work.shards


def _casts(work: Workload) -> float:
    """Autocast keeps a bfloat16 copy of every float32 weight until the forward pass ends."""
    if work.method != "full" or work.trained == "bfloat16" or work.shards > 1:
        return 0.0
    return 2.0 * work.shape.parameters


def _saved(shape: Shape, fused: bool) -> float:
    """Bytes a token that one layer saves for its backward pass, in bfloat16."""
    saved = 2 * (4 * shape.hidden + 2 * shape.queries + 2 * shape.keys + 3 * shape.intermediate)
    return saved if fused else saved + 2 * (6 * shape.hidden + shape.intermediate)


def _kept(work: Workload) -> float:
    """Bytes a token that one layer keeps, its adapters among them."""
    return _saved(work.shape, work.fused) + DROPPED * work.dropped


def _layer(work: Workload) -> float:
    """Bytes of one layer in its backward pass: what it saved, and the gradient of its widest activation."""
    return work.tokens * (_kept(work) + 2 * work.shape.intermediate)


def _stored(work: Workload) -> float:
    """Bytes between its two passes of one layer that computes its activations again."""
    shape = work.shape
    attention = 2 * shape.queries + 4 * shape.heads if work.checkpointing == "selective" else 0
    return work.tokens * (2 * shape.hidden + attention)


def _loss(work: Workload) -> float:
    """The head computes its loss in pieces: never all logits, but the head's gradient where it is trained."""
    head = 4.0 * work.shape.embedding if work.method == "full" else 0.0
    return 4.0 * work.tokens * work.shape.hidden + 0.25 * GIB + head / work.shards


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast a training goes: tokens a second over all GPUs, and the share of their peak that is used."""

    tokens_per_second: float
    step_seconds: float
    mfu: float


def speed(work: Workload, gpu: Gpu) -> Speed:
    """Return the speed of one optimiser step; recomputed operations count as time, not as use."""
    seconds = work.accumulation * _micro_seconds(work, gpu) + _step_seconds(work, gpu)
    tokens = work.tokens * work.accumulation
    useful = tokens * model_flops(work) / seconds / (gpu.teraflops * 1e12)
    return Speed(work.processes * tokens / seconds, seconds, useful)


def model_flops(work: Workload) -> float:
    """Return operations a token needs: forward, the activations' gradients, and those of trained weights."""
    forward = work.shape.forward_flops(work.length)
    if work.method == "full":
        return 3 * forward
    attention = 2 * work.shape.layers * work.shape.queries * work.length
    return 2 * forward + attention + 6 * work.adapters


def _micro_seconds(work: Workload, gpu: Gpu) -> float:
    """Seconds of one micro-batch: products, then the bytes that layers and 4-bit weights move."""
    shape = work.shape
    again = work.recomputed / shape.layers
    recomputed = shape.forward_flops(0 if work.checkpointing == "selective" else work.length)
    flops = model_flops(work) + again * (recomputed + 2 * work.adapters)
    if work.float8:
        flops -= (1 - 1 / FLOAT8) * (6 + 2 * again) * shape.linear
    passes = 3 + again
    traffic = TRAFFIC[work.fused] + (ADAPTER_TRAFFIC if work.method != "full" else 0)
    moved = passes * traffic * work.tokens * shape.layers * _saved(shape, fused=True)
    if work.method == "qlora":
        moved += (passes - 1) * DEQUANTISE * shape.linear
    compute = work.tokens * flops / (gpu.teraflops * 1e12 * MATMUL) + moved / (gpu.bandwidth * 1e9)
    compute += LAUNCH * passes * shape.layers
    away = 2 * work.recomputed * _stored(work) / (HOST * 1e9) if work.offload else 0.0
    return max(compute, away, _gathering(work, gpu, passes - 1))


def _step_seconds(work: Workload, gpu: Gpu) -> float:
    """Seconds of clipping and the optimiser: weights, gradients (thrice) and states, read and written."""
    count = work.trained_parameters / work.shards
    states = 16 if work.optimizer == "adamw" else 4
    moved = count * (6 * BYTES[work.trained] + states)
    sent = 0.0
    if work.sharding == "ddp":
        sent = _ring(work, gpu, 2 * work.trained_parameters * BYTES[work.trained])
    return moved / (gpu.bandwidth * 1e9 * STEP_BANDWIDTH) + sent


def _gathering(work: Workload, gpu: Gpu, passes: float) -> float:
    """Seconds in which sharded weights are fetched for each pass, and gradients are sent; it overlaps."""
    if work.sharding == "ddp":
        return 0.0
    a_weight = NF4_BYTES if work.method == "qlora" else 2.0
    a_gradient = 4.0 if work.sharding == "fsdp2" else 2.0
    sent = passes * a_weight * work.shape.parameters + a_gradient * work.trained_parameters
    return _ring(work, gpu, sent)


def _ring(work: Workload, gpu: Gpu, sent: float) -> float:
    if work.processes == 1:
        return 0.0
    return sent * (work.processes - 1) / work.processes / (gpu.link * 1e9 * LINK)
