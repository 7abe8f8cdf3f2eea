"""What only a GPU shows: bfloat16 compute, 4-bit bases in memory, flash attention, processes on GPUs."""

from __future__ import annotations

import os
from itertools import accumulate
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from training_samples import make_pairs, make_tokenizer, quick

from training import methods
from training.publish import Base
from training.settings import TrainSettings
from training.sft import train

pytestmark = pytest.mark.gpu
STILL = {"attention_dropout": 0.0, "lora_dropout": 0.0}
GIB = 2**30


@pytest.fixture(scope="module")
def billion(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """A random Llama of about 1.1e9 parameters, whose weights tell in memory."""
    from transformers import LlamaConfig, LlamaForCausalLM

    path = tmp_path_factory.mktemp("hub") / "billion"
    make_tokenizer().save_pretrained(path)
    config = LlamaConfig(
        vocab_size=400,
        hidden_size=2048,
        intermediate_size=5632,
        num_hidden_layers=24,
        num_attention_heads=16,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    with torch.device("cuda"):
        LlamaForCausalLM(config).to(torch.bfloat16).cpu().save_pretrained(path)
    return Base(path, "demo/billion", "0" * 40)


def peak(settings: TrainSettings, base: Base, work: Path) -> float:
    """Train and return the most memory that torch has taken, in GiB."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    train(settings, make_pairs(32), base, work)
    return torch.cuda.max_memory_allocated() / GIB


@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
def test_every_method_learns_on_a_gpu_and_measures_itself(base: Base, work: Path, method: str):
    events = []
    trained = train(quick(method, **STILL), make_pairs(12), base, work, events.append)
    assert trained.losses[-1][1] < trained.losses[0][1] - 0.05
    assert all(event.tokens_per_second > 0 for event in events)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_bfloat16_compute_gives_nearly_the_losses_of_float32(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
):
    gpu = train(quick(method, micro_batch=2, **STILL), make_pairs(12), base, tmp_path / "gpu")
    monkeypatch.setattr(methods, "device", lambda: "cpu")
    cpu = train(quick(method, micro_batch=2, **STILL), make_pairs(12), base, tmp_path / "cpu")
    for (_, one), (_, other) in zip(gpu.losses, cpu.losses, strict=True):
        assert one == pytest.approx(other, rel=0.02)


def test_memory_follows_method_and_weights(billion: Base, tmp_path: Path):
    taken = {
        "float32": peak(quick("full", batch_size=8), billion, tmp_path / "float32"),
        "bfloat16": peak(quick("full", batch_size=8, weights="bfloat16"), billion, tmp_path / "bfloat16"),
        "lora": peak(quick("lora", batch_size=8), billion, tmp_path / "lora"),
        "qlora": peak(quick("qlora", batch_size=8), billion, tmp_path / "qlora"),
    }
    assert taken["qlora"] < taken["lora"] < taken["bfloat16"] < taken["float32"]
    assert taken["bfloat16"] < 0.6 * taken["float32"]
    assert taken["qlora"] < 2.5


def test_gradient_checkpointing_saves_memory_and_changes_no_loss(billion: Base, tmp_path: Path):
    settings = quick("lora", batch_size=8, micro_batch=8, gradient_checkpointing=True, **STILL)
    kept = settings.model_copy(update={"gradient_checkpointing": False})
    assert peak(settings, billion, tmp_path / "again") < peak(kept, billion, tmp_path / "kept")


@pytest.mark.parametrize(
    ("method", "more", "within"),
    [
        ("full", {"compile_layers": True}, 0.02),
        ("qlora", {"compile_layers": True, "gradient_checkpointing": True}, 0.02),
        ("qlora", {"offload_activations": True, "gradient_checkpointing": True}, 0.02),
        (
            "qlora",
            {"offload_activations": True, "gradient_checkpointing": True, "compile_layers": True},
            0.02,
        ),
        ("full", {"weights": "bfloat16", "checkpointed_layers": 1, "compile_layers": True}, 0.02),
        ("full", {"float8": True, "compile_layers": True}, 0.1),
        ("full", {"float8": True, "compile_layers": True, "gradient_checkpointing": True}, 0.1),
    ],
)
def test_what_makes_it_fast_changes_losses_little(
    base: Base, tmp_path: Path, method: str, more: dict[str, bool], within: float
):
    slow = {"compile_layers": False, "offload_activations": False, "gradient_checkpointing": False, **STILL}
    more = {"gradient_checkpointing": "checkpointed_layers" in more, "held_out": 2, "sample_tokens": 4} | more
    notes: list[str] = []
    fast = train(quick(method, **slow | more), make_pairs(12), base, tmp_path / "fast", on_note=notes.append)
    plain = train(quick(method, **slow), make_pairs(12), base, tmp_path / "plain")
    assert notes == []
    for (_, one), (_, other) in zip(fast.losses, plain.losses, strict=True):
        assert one == pytest.approx(other, rel=within)


@pytest.mark.parametrize("compiled", [False, True])
def test_dropout_on_attention_trains_with_checkpointing(base: Base, work: Path, compiled: bool):
    more = {"attention_dropout": 0.1, "gradient_checkpointing": True, "compile_layers": compiled}
    trained = train(quick("full", weights="bfloat16", **more), make_pairs(12), base, work)
    assert trained.losses[-1][1] < trained.losses[0][1] - 0.05


def test_where_a_gpu_runs_out_of_memory_the_training_goes_on_with_less(billion: Base, tmp_path: Path):
    settings = quick("lora", batch_size=32, micro_batch=32, steps=2, gradient_checkpointing=False, **STILL)
    most = peak(settings, billion, tmp_path / "most")
    least = peak(settings.model_copy(update={"micro_batch": 1}), billion, tmp_path / "least")
    allowed = (
        (least + most) / 2 * GIB
    )  # which the base fills more than half of: it must not stay for the next
    torch.cuda.set_per_process_memory_fraction(allowed / torch.cuda.get_device_properties(0).total_memory)
    notes: list[str] = []
    try:
        trained = train(settings, make_pairs(32), billion, tmp_path / "work", on_note=notes.append)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert notes
    assert all(note.startswith("out of memory: now micro_batch ") for note in notes)
    assert [step for step, _ in trained.losses] == [1, 2]


@pytest.mark.parametrize("weights", ["float32", "bfloat16"])
def test_small_updates_arrive_on_a_gpu(base: Base, work: Path, weights: str):
    train(quick("full", learning_rate=1e-5, steps=10, weights=weights, **STILL), make_pairs(12), base, work)
    before = load_file(base.path / "model.safetensors")
    after = load_file(work / "checkpoints" / "checkpoint-10" / "model.safetensors")
    change = torch.cat([(after[name].float() - before[name].float()).flatten() for name in before])
    assert change.abs().mean() == pytest.approx(1e-5 * 10 / 2, rel=0.5)


def test_packing_with_flash_attention_computes_what_sdpa_computes(base: Base, tmp_path: Path):
    one, other = (
        train(
            quick("lora", packing=True, attention=attention, **STILL),
            make_pairs(12),
            base,
            tmp_path / attention,
        )
        for attention in ("sdpa", "varlen")
    )
    for (_, some), (_, others) in zip(one.losses, other.losses, strict=True):
        assert some == pytest.approx(others, rel=0.02)


@pytest.mark.parametrize("heads", [4, 2])
@pytest.mark.parametrize("lengths", [[128, 128, 128], [64, 200, 120]])
def test_every_kernel_attends_within_each_pair_alone(lengths: list[int], heads: int):
    from training.attention import varlen_attention

    bounds = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device="cuda")
    parts = [
        torch.randn(1, n, sum(lengths), 64, device="cuda", dtype=torch.bfloat16) for n in (4, heads, heads)
    ]
    back = torch.randn(1, sum(lengths), 4, 64, device="cuda", dtype=torch.bfloat16)

    def found(dtype: torch.dtype, longest: int | None) -> list[torch.Tensor]:
        own = [part.to(dtype, copy=True).requires_grad_() for part in parts]
        module = SimpleNamespace(num_key_value_groups=4 // heads, is_causal=True, training=True)
        whole, _ = varlen_attention(
            module, *own, None, scaling=0.125, cu_seq_lens_q=bounds, max_length_q=longest
        )
        whole.backward(back.to(dtype))
        return [whole, *(part.grad for part in own)]

    for fast, exact in zip(found(torch.bfloat16, max(lengths)), found(torch.float32, None), strict=True):
        assert (fast.float() - exact).norm() < 0.02 * exact.norm()


@pytest.mark.parametrize("sharding", ["ddp", "fsdp2"])
@pytest.mark.parametrize("method", ["full", "qlora"])
def test_processes_on_all_gpus_train_what_one_trains(base: Base, tmp_path: Path, method: str, sharding: str):
    gpus = torch.cuda.device_count()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    settings = quick(method, batch_size=4 * gpus, micro_batch=1, sharding=sharding, **STILL)
    many = train(
        settings.model_copy(update={"processes": gpus}), make_pairs(4 * gpus), base, tmp_path / "many"
    )
    one = train(settings, make_pairs(4 * gpus), base, tmp_path / "one")
    for (_, some), (_, others) in zip(many.losses, one.losses, strict=True):
        assert some == pytest.approx(others, rel=0.02)
