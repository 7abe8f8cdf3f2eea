from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from training_samples import make_model

from training.devices import GIB, KNOWN, gpu_here, gpu_named, known_gpu
from training.errors import TrainingError
from training.fitting import choose, forecast, workload
from training.forecast import memory, speed
from training.settings import TrainSettings
from training.shapes import Shape, read_shape, shape_of

SMALL = Shape(32000, 4096, 11008, 32, 32, 32, 128, tied=False)
LARGE = Shape(32000, 8192, 28672, 80, 64, 8, 128, tied=False)
H100 = gpu_named("H100")


def test_a_shape_counts_the_parameters_of_the_model_it_describes(tmp_path: Path) -> None:
    model = make_model()
    model.config.save_pretrained(tmp_path)
    shape = read_shape(tmp_path)
    assert shape.parameters == model.num_parameters()


def test_a_shape_counts_the_adapters_that_peft_puts_on() -> None:
    from peft import LoraConfig, get_peft_model

    model = make_model()
    shape = shape_of(model.config.to_dict())
    for targets in ("all-linear", ["q_proj", "down_proj"]):
        adapted = get_peft_model(make_model(), LoraConfig(r=4, target_modules=targets, task_type="CAUSAL_LM"))
        trained = sum(part.numel() for part in adapted.parameters() if part.requires_grad)
        assert shape.adapters(4, targets) == trained


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "gpt2", "n_embd": 768}, "no forecast for a gpt2 model"),
        ({"num_local_experts": 8}, "mixture of experts"),
    ],
)
def test_a_shape_that_is_not_known_is_refused_by_name(config: dict[str, object], words: str) -> None:
    known = make_model().config.to_dict() if "model_type" not in config else {}
    with pytest.raises(TrainingError, match=words):
        shape_of(known | config)


def test_a_config_that_is_no_json_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(TrainingError, match=r"config\.json cannot be read") as caught:
        read_shape(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA A100-SXM4-80GB", "A100 80GB"),
        ("NVIDIA A100-SXM4-40GB", "A100"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA L40S", "L40S"),
        ("h100", "H100"),
    ],
)
def test_a_gpu_is_known_by_what_its_driver_calls_it(told: str, name: str) -> None:
    found = known_gpu(told)
    assert found is not None
    assert found.name == name


def test_an_unknown_gpu_is_named_with_those_that_are_known() -> None:
    with pytest.raises(TrainingError, match="'Voodoo 2' is no GPU that forecasts know; there are B200, H200"):
        gpu_named("Voodoo 2")


def test_the_choice_keeps_what_is_set_and_the_pairs_of_a_step() -> None:
    chosen = choose(TrainSettings(method="qlora", micro_batch=2), SMALL, H100)
    assert chosen.micro_batch == 2
    chosen = choose(TrainSettings(method="qlora", gradient_checkpointing=True), SMALL, H100)
    assert chosen.gradient_checkpointing is True
    found = forecast(TrainSettings(method="qlora"), SMALL, H100)
    assert found.accumulation * (found.settings.micro_batch or 0) == 32


def test_a_small_gpu_gets_checkpointing_and_a_large_one_keeps_its_activations() -> None:
    settings = TrainSettings(method="qlora", max_length=4096)
    small, large = (forecast(settings, SMALL, gpu_named(name)) for name in ("L4", "H200"))
    assert small.fits
    assert large.fits
    assert small.settings.gradient_checkpointing
    assert not large.settings.gradient_checkpointing
    assert large.speed.tokens_per_second > small.speed.tokens_per_second


def test_between_all_and_nothing_some_layers_compute_again() -> None:
    found = forecast(TrainSettings(method="qlora", gpu_memory=40.0, micro_batch=8), SMALL, H100)
    some = found.settings.checkpointed_layers
    assert found.settings.gradient_checkpointing
    assert some in {8, 16, 24}
    assert any(f"checkpointing of {some} of 32 layers" in line for line in found.lines())
    all_again = forecast(TrainSettings(method="qlora", gradient_checkpointing=True), SMALL, H100)
    assert all_again.settings.checkpointed_layers is None
    assert found.speed.tokens_per_second > all_again.speed.tokens_per_second


@pytest.mark.parametrize(("shape", "room"), [(SMALL, 12.0), (LARGE, 60.0)])
def test_no_more_of_the_gpu_is_filled_than_may_be(shape: Shape, room: float) -> None:
    found = forecast(TrainSettings(method="qlora", gpu_memory=room), shape, H100)
    assert found.fits
    assert room / 2 < found.memory.total / GIB <= room
    assert found.settings.offload_activations  # which makes room for more pairs at once
    stays = TrainSettings(method="qlora", gpu_memory=room, offload_activations=False)
    assert forecast(stays, shape, H100).speed.tokens_per_second < found.speed.tokens_per_second


def test_long_trainings_alone_are_compiled_and_split_ones_are_not() -> None:
    long, short = (choose(TrainSettings(method="qlora", steps=n), SMALL, H100) for n in (1000, 10))
    assert (long.compile_layers, short.compile_layers) == (True, False)
    split = TrainSettings(method="full", processes=8, sharding="fsdp2")
    assert not choose(split, SMALL, H100).compile_layers
    assert choose(TrainSettings(compile_layers=False), SMALL, H100).compile_layers is False


def test_float8_is_forecast_faster_in_the_same_memory() -> None:
    settings = TrainSettings(method="full", weights="bfloat16")
    plain, fast = (forecast(settings.model_copy(update={"float8": on}), SMALL, H100) for on in (False, True))
    assert 1.1 < fast.speed.tokens_per_second / plain.speed.tokens_per_second < 1.6
    assert fast.memory == plain.memory


def test_what_fits_nowhere_says_so_with_the_way_out() -> None:
    found = forecast(TrainSettings(method="full"), LARGE, H100)
    assert not found.fits
    assert found.settings.micro_batch == 1
    assert found.settings.gradient_checkpointing
    assert any("does not fit; take method qlora" in line for line in found.lines())


def test_sharding_divides_what_lies_still_and_many_gpus_are_faster() -> None:
    settings = TrainSettings(method="full", batch_size=64, micro_batch=1, gradient_checkpointing=True)
    one = forecast(settings, LARGE, H100)
    many = forecast(settings.model_copy(update={"processes": 64, "sharding": "fsdp2"}), LARGE, H100)
    assert many.fits
    assert many.memory.optimizer == pytest.approx(one.memory.optimizer / 64)
    assert many.speed.tokens_per_second > 20 * one.speed.tokens_per_second


def test_packing_counts_packs_and_not_pairs() -> None:
    settings = TrainSettings(packing=True, micro_batch=1, gradient_checkpointing=True)
    assert workload(settings, SMALL, 512).accumulation == 8
    assert workload(settings, SMALL, 512).tokens == 2048


def test_a_sample_of_lengths_shortens_the_time_and_not_the_memory() -> None:
    settings = TrainSettings(method="qlora", micro_batch=8, gradient_checkpointing=True)
    longest, usual = (forecast(settings, SMALL, H100, tokens) for tokens in (None, 500.0))
    assert usual.memory == longest.memory
    assert usual.seconds < longest.seconds / 2
    assert "the most there can be" in "".join(longest.lines())
    assert "500 tokens a pair, as in a sample" in "".join(usual.lines())


@given(
    st.sampled_from(["full", "lora", "qlora"]),
    st.sampled_from([1, 2, 4, 8]),
    st.booleans(),
    st.sampled_from([256, 2048, 8192]),
    st.sampled_from(KNOWN),
)
def test_more_tokens_never_take_less_memory_and_no_gpu_is_used_beyond_its_peak(
    method: str, micro: int, on: bool, length: int, gpu: object
) -> None:
    settings = TrainSettings(
        method=method, micro_batch=micro, gradient_checkpointing=on, max_length=length, batch_size=32
    )
    larger = settings.model_copy(update={"max_length": 2 * length})
    assert memory(workload(settings, SMALL)).total < memory(workload(larger, SMALL)).total
    assert 0 < speed(workload(settings, SMALL), gpu).mfu < 0.8  # type: ignore[arg-type]


def test_every_part_of_the_memory_is_told(tmp_path: Path) -> None:
    found = forecast(TrainSettings(method="full"), SMALL, H100)
    parts = [found.memory.weights, found.memory.gradients, found.memory.optimizer, found.memory.framework]
    line = found.lines()[2]
    assert all(f"{part / GIB:.1f}" in line for part in parts)
    assert json.dumps(found.lines(), ensure_ascii=False).count("GiB") == 1


def test_the_gpu_that_programs_may_use_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\ncase \"$*\" in *--id=1*) ;; *) echo 'NVIDIA L4, 23034';; esac\n"
        "echo 'NVIDIA H100 80GB HBM3, 81559'\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    found = {}
    for visible in ("", "0,1", "1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        gpu = gpu_here()
        found[visible] = gpu and (gpu.name, round(gpu.memory, 1))
    assert found == {"": ("L4", 22.5), "0,1": ("L4", 22.5), "1": ("H100", 79.6)}
