from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from training.errors import TrainingError
from training.settings import Attention, Method, TrainSettings, load_settings

CONFIGS = sorted((Path(__file__).parents[2] / "training" / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_loads_and_names_its_command(path: Path):
    settings = load_settings(path)
    header = path.read_text().partition("\nmethod:")[0]
    assert f"METHOD={settings.method}" in header
    assert "make train-" in header
    assert "BASE=" in header
    assert "DATASET=" in header


def test_the_papers_hyperparameters_are_in_its_configs():
    found = {path.stem: load_settings(path) for path in CONFIGS}
    for name in ("paper-7b-full", "paper-7b-qlora", "paper-70b-full", "paper-70b-qlora"):
        settings = found[name]
        assert (settings.batch_size, settings.weight_decay, settings.scheduler) == (32, 0.1, "cosine")
        assert max(settings.attention_dropout, settings.lora_dropout) == 0.1
    assert found["paper-7b-full"].learning_rate == 1e-5
    assert found["paper-70b-full"].learning_rate == 5.5e-6
    assert found["paper-70b-full"].steps == 1600
    for name in ("paper-7b-full", "paper-7b-qlora"):
        assert found[name].candidates() == [600, 900, 1200]
        assert found[name].held_out > 0


def test_every_setting_is_explained_in_a_sentence():
    for name, field in TrainSettings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name


def test_each_method_has_its_own_learning_rate():
    rates = {
        method: TrainSettings(method=method).resolve("cpu").learning_rate
        for method in ("full", "lora", "qlora")
    }
    assert rates == {"full": 1e-5, "lora": 2e-4, "qlora": 2e-4}
    assert TrainSettings(method="full", learning_rate=3e-5).resolve("cpu").learning_rate == 3e-5


def test_resolving_leaves_nothing_open():
    for method in ("full", "lora", "qlora"):
        for device in ("cpu", "cuda"):
            resolved = TrainSettings(method=method).resolve(device)
            still_open = {name for name, value in resolved.model_dump().items() if value is None}
            free = {"chat_template", "publish_step", "checkpointed_layers"}
            assert still_open == (free | {"merge"} if method == "full" else free)


def test_the_micro_batch_that_is_picked_divides_the_batch():
    assert TrainSettings(batch_size=9).resolve("cpu").micro_batch == 1
    assert TrainSettings(batch_size=12).resolve("cuda").micro_batch == 6
    assert TrainSettings(batch_size=9, packing=True).resolve("cuda").micro_batch == 1


def test_open_dropout_of_attention_is_the_papers_for_full_alone():
    found = {method: TrainSettings(method=method).resolve("cpu") for method in get_args(Method)}
    assert {method: one.attention_dropout for method, one in found.items()} == {
        "full": 0.1,
        "lora": 0,
        "qlora": 0,
    }
    assert TrainSettings(method="lora", attention_dropout=0.2).resolve("cpu").attention_dropout == 0.2


def test_pairs_are_padded_only_where_attention_asks_for_it():
    free = {way: TrainSettings(attention=way).resolve("cuda").padding_free for way in get_args(Attention)}
    assert {way for way, is_free in free.items() if not is_free} == {"sdpa", "eager"}
    assert TrainSettings(attention="sdpa", packing=True).resolve("cuda").padding_free


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"method": "full", "merge": True}, "merge"),
        ({"method": "full", "merge": False}, "merge"),
        ({"batch_size": 8, "micro_batch": 3}, "micro_batch 3 does not divide batch_size 8"),
        ({"learning_rte": 1e-4}, "learning_rte"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"steps": 0}, "steps"),
        ({"lora_targets": []}, "lora_targets"),
        ({"warmup": 10}, "warmup"),
        ({"chat_template": "{% for m in messages %}"}, "line 1 is no Jinja"),
        ({"method": "full", "attention": "flash_attention_3"}, "flash_attention_3 has no dropout"),
    ],
)
def test_wrong_settings_are_refused_by_name(change: dict[str, object], word: str):
    with pytest.raises(ValidationError, match=word):
        TrainSettings(**change)


def test_targets_may_come_with_commas_and_templates_with_the_tags_of_transformers():
    template = (
        "{%- for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% break %}{% endfor %}"
    )
    settings = TrainSettings(lora_targets="q_proj, v_proj", chat_template=template)  # type: ignore[arg-type]
    assert settings.lora_targets == ["q_proj", "v_proj"]
    assert settings.chat_template == template
    assert TrainSettings(lora_targets="all-linear").lora_targets == "all-linear"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("method: lora\nlearning_rte: 1\n", "learning_rte"),
        ("steps: many\n", "steps"),
        ("- a list\n", "settings"),
        ("method: [\n", "cannot be read"),
        ("method: full\nmerge: true\n", "merge"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, text: str, expected: str):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(TrainingError) as caught:
        load_settings(path)
    assert expected in str(caught.value)
    assert "mine.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_cannot_be_changed_afterwards():
    with pytest.raises(ValidationError):
        TrainSettings().steps = 3  # type: ignore[misc]
