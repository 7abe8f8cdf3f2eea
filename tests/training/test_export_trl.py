from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from training_samples import SHA, TEMPLATE, make_pairs

from training.export import CONFIG, PAIRS, export_trl, trl_settings
from training.methods import adapter, four_bit, load_base
from training.publish import Base
from training.settings import TrainSettings
from training.sft import train

CASES = {
    "full": TrainSettings(method="full", batch_size=8, warmup=0.1, seed=3),
    "lora": TrainSettings(method="lora", batch_size=8, lora_rank=8, lora_targets=["q_proj", "v_proj"]),
    "qlora": TrainSettings(method="qlora", batch_size=8, learning_rate=1e-4, max_length=128),
    "template": TrainSettings(method="lora", batch_size=8, chat_template=TEMPLATE, scheduler="linear"),
}
SAME = (
    "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate",
    "lr_scheduler_type", "warmup_steps", "weight_decay", "max_grad_norm", "optim", "gradient_checkpointing",
    "use_cpu", "bf16", "seed", "data_seed", "save_steps", "logging_steps", "report_to",
)  # fmt: skip


def parse(path: Path):
    """Read a YAML file as `trl sft` reads it."""
    from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, SFTConfig, TrlParser

    parser = TrlParser((ScriptArguments, SFTConfig, ModelConfig, DatasetMixtureConfig))
    return parser.parse_args_and_config(["--config", str(path)])[:3]


def trained_with(settings, pairs, base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Train, and return the arguments that our trainer was built with."""
    import training.trainer

    seen = []
    real = training.trainer.SFTConfig
    monkeypatch.setattr(training.trainer, "SFTConfig", lambda **given: seen.append(real(**given)) or seen[-1])
    train(settings, pairs, base, tmp_path / "work")
    return seen[0]


@pytest.mark.parametrize("name", CASES)
def test_trl_reads_the_settings_that_our_trainer_has(
    name: str, base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = CASES[name].model_copy(update={"steps": 1})
    pairs = make_pairs(12)
    path = export_trl(
        tmp_path / "out", settings.resolve("cpu"), "train-final", (base.repo, SHA), pairs, "cpu"
    )
    ours = trained_with(settings, pairs, base, tmp_path, monkeypatch)
    monkeypatch.chdir(path.parent)
    script, theirs, model = parse(path)
    assert {key: getattr(theirs, key) for key in SAME} == {key: getattr(ours, key) for key in SAME}
    assert theirs.max_length == settings.max_length
    assert theirs.completion_only_loss is True
    assert (model.model_name_or_path, model.model_revision) == (base.repo, SHA)
    assert (path.parent / script.dataset_name / "train.jsonl").exists()
    if settings.chat_template:
        assert theirs.chat_template_path is not None
        assert Path(theirs.chat_template_path).read_text() == TEMPLATE


@pytest.mark.parametrize("name", ["lora", "qlora"])
def test_trl_builds_the_adapter_and_the_quantisation_that_ours_are(
    name: str, base: Base, tmp_path: Path
) -> None:
    import torch
    from trl import get_peft_config, get_quantization_config

    settings = CASES[name].resolve("cpu")
    path = export_trl(tmp_path / "out", settings, "train-final", (base.repo, SHA), make_pairs(2), "cpu")
    _, _, model = parse(path)
    theirs, ours = get_peft_config(model), adapter(settings, load_base(base.path, settings))
    names = ("r", "lora_alpha", "lora_dropout", "bias", "task_type", "use_rslora")
    assert {key: getattr(theirs, key) for key in names} == {key: getattr(ours, key) for key in names}
    assert set(theirs.target_modules) == set(ours.target_modules)
    if name == "qlora":
        found, wanted = (c.to_dict() for c in (get_quantization_config(model), four_bit(torch.float32)))
        keys = ("load_in_4bit", "bnb_4bit_quant_type", "bnb_4bit_use_double_quant", "bnb_4bit_compute_dtype")
        assert {key: found[key] for key in keys} == {key: wanted[key] for key in keys}


def test_on_a_gpu_the_dtype_follows_the_method_and_the_weights() -> None:
    def dtype(**changes: object) -> object:
        settings = TrainSettings(**changes).resolve("cuda")  # type: ignore[arg-type]
        return trl_settings(settings, ("a/b", SHA), "cuda")["dtype"]

    assert dtype(method="full") == "float32"
    assert dtype(method="full", weights="bfloat16") == dtype(method="qlora") == "bfloat16"


def test_a_step_has_as_many_pairs_on_many_processes() -> None:
    for processes in (1, 4):
        settings = TrainSettings(processes=processes, micro_batch=2).resolve("cuda")
        found = trl_settings(settings, ("a/b", SHA), "cuda")
        assert found["per_device_train_batch_size"] == 2
        assert found["gradient_accumulation_steps"] * 2 * processes == 32


def test_packs_of_a_step_hold_about_its_pairs() -> None:
    settings = TrainSettings(packing=True, micro_batch=1, max_length=2048).resolve("cuda")
    found = trl_settings(settings, ("a/b", SHA), "cuda", pair_tokens=512)
    assert (found["packing"], found["gradient_accumulation_steps"]) == (True, 8)


def test_the_pairs_are_chats_and_the_header_says_how_to_run(tmp_path: Path) -> None:
    settings = TrainSettings(processes=2, sharding="fsdp2").resolve("cuda")
    pairs = make_pairs(3)
    path = export_trl(tmp_path / "out", settings, "train-final", ("demo/base", SHA), pairs, "cuda")
    rows = [json.loads(line) for line in (path.parent / PAIRS / "train.jsonl").read_text().splitlines()]
    assert rows == [{"prompt": pair.prompt, "completion": pair.completion} for pair in pairs]
    command = next(line for line in path.read_text().splitlines() if "trl sft" in line).lstrip("# ")
    assert shlex.split(command)[:4] == ["trl", "sft", "--config", CONFIG]
    assert "--accelerate_config fsdp2 --num_processes 2" in command
    assert str(tmp_path) not in path.read_text()
    assert yaml.safe_load(path.read_text())["dataset_name"] == PAIRS


@pytest.mark.slow
def test_plain_trl_comes_to_the_same_losses(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = TrainSettings(
        method="full", steps=3, batch_size=8, micro_batch=4, max_length=128, learning_rate=5e-3,
        attention_dropout=0, chat_template=TEMPLATE.replace("<|end|>\n", "<|end|>"),
    ).resolve("cpu")  # fmt: skip
    pairs = make_pairs(8)  # all of them in each step: their order makes no difference
    path = export_trl(tmp_path / "out", settings, "train-final", (base.repo, SHA), pairs, "cpu")
    found = yaml.safe_load(path.read_text()) | {"model_name_or_path": str(base.path)}
    del found["model_revision"]
    path.write_text(yaml.safe_dump(found))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = subprocess.run(
        [Path(sys.executable).parent / "trl", "sft", "--config", path.name],
        cwd=path.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    state = path.parent / "model" / "checkpoint-3" / "trainer_state.json"
    assert state.exists(), done.stderr[-2000:]
    theirs = [entry["loss"] for entry in json.loads(state.read_text())["log_history"] if "loss" in entry]
    ours = train(settings, pairs, base, tmp_path / "work").losses
    assert theirs == pytest.approx([loss for _, loss in ours], rel=1e-5)
