"""Every shipped config: its command picks it, its settings are valid, and its GPUs have room for it."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from training.devices import gpu_named
from training.fitting import forecast
from training.settings import TrainSettings, load_settings
from training.shapes import Shape, shape_of

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "training" / "configs").glob("*.yaml"))
GPUS = re.compile(r"^# GPUs: (\d+) (.+?) \(", re.MULTILINE)

LLAMA = {
    "model_type": "llama", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
    "tie_word_embeddings": False,
}  # fmt: skip
# What the bases' own config.json say, and the parameters that they are known to have.
BASES = {
    "meta-llama/Llama-2-7b-hf": (LLAMA, 6_738_415_616),
    "meta-llama/Llama-2-70b-hf": (
        LLAMA | {"hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80,
                 "num_attention_heads": 64, "num_key_value_heads": 8},
        68_976_648_192,
    ),
    "allenai/OLMo-2-1124-7B": (LLAMA | {"model_type": "olmo2", "vocab_size": 100352}, 7_298_617_344),
    "HuggingFaceTB/SmolLM2-135M-Instruct": (
        LLAMA | {"vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
                 "num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True},
        134_515_008,
    ),
}  # fmt: skip


def command(path: Path) -> list[str]:
    line = next(line for line in path.read_text().splitlines() if line.startswith("#   make "))
    return shlex.split(line.lstrip("# "))


def base_of(path: Path) -> str:
    return next(word.removeprefix("BASE=") for word in command(path) if word.startswith("BASE="))


def shape(path: Path) -> Shape:
    return shape_of(BASES[base_of(path)][0])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_command_of_the_header_takes_this_very_file(path: Path) -> None:
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", *command(path)[1:]],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    line = next(line for line in done.stdout.replace("\\\n", " ").splitlines() if "backforth train" in line)
    words = shlex.split(line)
    assert words[words.index("--config") + 1] == f"training/configs/{path.name}"
    assert words[words.index("--method") + 1] == load_settings(path).method
    assert words[words.index("--base") + 1] == base_of(path)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_gpus_of_the_header_have_room(path: Path) -> None:
    settings = load_settings(path)
    named = GPUS.search(path.read_text())
    if named is None:
        assert "on two CPU cores" in path.read_text() or "CPU" in path.read_text()
        return
    assert settings.processes == int(named[1])
    found = forecast(settings, shape(path), gpu_named(named[2]))
    assert found.fits, found.lines()
    assert found.settings.batch_size == 32


def test_the_papers_trainings_and_one_of_an_open_model_are_there() -> None:
    names = {path.stem for path in CONFIGS}
    for size in ("paper-7b", "paper-70b", "olmo2-7b", "smollm2-135m"):
        assert {f"{size}-full", f"{size}-qlora"} <= names


@pytest.mark.parametrize("name", BASES)
def test_a_base_has_the_parameters_that_it_is_known_to_have(name: str) -> None:
    config, parameters = BASES[name]
    assert shape_of(config).parameters == pytest.approx(parameters, rel=1e-4)


@pytest.mark.parametrize("name", BASES)
def test_a_shape_agrees_with_the_model_that_transformers_builds(name: str) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = dict(BASES[name][0])
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
    assert shape_of(config).parameters == pytest.approx(model.num_parameters(), rel=1e-4)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_chat_template_gives_the_prompt_that_its_whole_chat_begins_with(path: Path) -> None:
    from jinja2 import Environment

    template = load_settings(path).chat_template
    if template is None:
        return
    render = Environment(autoescape=False).from_string(template).render
    question = [{"role": "user", "content": "Why?"}]
    words = {"bos_token": "<s>", "eos_token": "</s>"}
    prompt = render(messages=question, add_generation_prompt=True, **words)
    whole = render(messages=[*question, {"role": "assistant", "content": "So."}], **words)
    assert whole.startswith(prompt)
    assert whole.rstrip("\n").endswith("So.</s>")


def test_make_passes_gpus_on_and_other_bases_get_the_defaults() -> None:
    def line(*words: str) -> str:
        done = subprocess.run(
            ["make", "--dry-run", "train-final", "DATASET=a/b@v1", *words],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return " ".join(done.stdout.replace("\\\n", " ").replace("'", "").split())

    assert "--set processes=8 --set sharding=fsdp2" in line("BASE=a/x-7b", "METHOD=full", "GPUS=8")
    assert "--set processes=2 --set sharding=ddp" in line("BASE=a/x-7b", "GPUS=2")
    assert "--config" not in line("BASE=a/x-7b")
    assert TrainSettings().batch_size == 32
