"""What is published of a checkpoint that was trained elsewhere, and what is refused in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from training_samples import make_model

from training.adopt import adopt, chosen_files, is_local_path
from training.errors import TrainingError
from training.publish import Base, write_merged


@pytest.fixture
def whole(base: Base, tmp_path: Path) -> Path:
    """A whole model as save_pretrained leaves it."""
    return Path(shutil.copytree(base.path, tmp_path / "whole"))


@pytest.fixture
def adapter(base: Base, tmp_path: Path) -> Path:
    """An adapter as PEFT saves it, with the base's local path."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base.path)
    model = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    model.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def refused(source: Path, base: Base, tmp_path: Path) -> str:
    with pytest.raises(TrainingError) as caught:
        adopt(source, base, tmp_path / "out")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_whole_model_is_taken_with_its_parameters_and_losses(
    whole: Path, base: Base, tmp_path: Path
) -> None:
    log = [{"step": 1, "loss": 2.0}, {"step": 1, "eval_loss": 3.0}, "nonsense"]
    (whole / "trainer_state.json").write_text(json.dumps({"log_history": log}))
    adopted = adopt(whole, base, tmp_path / "out")
    assert (adopted.kind, adopted.losses) == ("full", [(1, 2.0)])
    assert adopted.parameters == make_model().num_parameters()
    assert not (adopted.folder / "trainer_state.json").exists()


def test_an_adapter_gets_its_bases_name_and_tokenizer(adapter: Path, base: Base, tmp_path: Path) -> None:
    adopted = adopt(adapter, base, tmp_path / "out")
    config = json.loads((adopted.folder / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == (base.repo, base.sha)
    assert (adopted.folder / "chat_template.jinja").exists()


def test_pickles_and_other_files_stay_behind(whole: Path) -> None:
    for name in ("optimizer.pt", "training_args.bin", "notes.txt", "run.py"):
        (whole / name).write_text("x")
    (whole / "LICENSE.txt").write_text("x")
    names = {path.name for path in chosen_files(whole)}
    assert not names & {"optimizer.pt", "training_args.bin", "notes.txt", "run.py"}
    assert {"LICENSE.txt", "config.json", "model.safetensors", "tokenizer.json"} <= names


def test_pickled_weights_alone_are_refused_with_the_way_out(whole: Path, base: Base, tmp_path: Path) -> None:
    (whole / "model.safetensors").rename(whole / "pytorch_model.bin")
    message = refused(whole, base, tmp_path)
    assert "holds pytorch_model.bin and no safetensors" in message
    assert "save the model with save_pretrained" in message


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_place_on_a_machine_is_named_with_its_key(
    name: str, whole: Path, base: Base, tmp_path: Path
) -> None:
    change(whole / name, _name_or_path="/home/somebody/base", extra={"cache": "/data/runs/7"})
    assert f"{name}: extra.cache is '/data/runs/7'" in refused(whole, base, tmp_path)


def test_where_it_came_from_is_dropped(whole: Path, base: Base, tmp_path: Path) -> None:
    change(whole / "config.json", _name_or_path="/home/somebody/base")
    adopted = adopt(whole, base, tmp_path / "out")
    assert "somebody" not in (adopted.folder / "config.json").read_text()


def test_a_place_in_the_weights_header_is_refused(whole: Path, base: Base, tmp_path: Path) -> None:
    path = whole / "model.safetensors"
    save_file(load_file(path), path, metadata={"format": "pt", "from": "/home/somebody/base"})
    assert "its from is '/home/somebody/base'" in refused(whole, base, tmp_path)


def test_an_adapter_of_another_base_is_refused_by_name_and_by_shape(
    adapter: Path, base: Base, tmp_path: Path
) -> None:
    other = Base(tmp_path / "wide", "demo/wide", base.sha)
    config = make_model().config
    config.hidden_size, config.intermediate_size = 96, 192
    config.save_pretrained(other.path)
    assert "do not fit demo/wide; it was trained on another base" in refused(adapter, other, tmp_path)
    change(adapter / "adapter_config.json", base_model_name_or_path="org/base")
    assert "trained on org/base, not on demo/tiny-llama" in refused(adapter, base, tmp_path)


def test_a_checkpoint_that_is_not_whole_is_refused(whole: Path, base: Base, tmp_path: Path) -> None:
    path = whole / "model.safetensors"
    tensors = load_file(path)
    norm = tensors.pop("model.norm.weight")
    save_file(tensors, path)
    assert "lacks model.norm.weight and 0 more tensors" in refused(whole, base, tmp_path)
    save_file(tensors | {"model.norm.weight": norm[:-1].clone()}, path)
    assert "model.norm.weight has the shape (63,)" in refused(whole, base, tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    assert "model.safetensors is no whole safetensors file" in refused(whole, base, tmp_path)


def test_a_missing_shard_is_named(whole: Path, base: Base, tmp_path: Path) -> None:
    index = {"weight_map": {"model.norm.weight": "model-00002-of-00002.safetensors"}}
    (whole / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "lacks model-00002-of-00002.safetensors" in refused(whole, base, tmp_path)


def test_a_folder_without_configs_or_that_is_not_there_is_refused(
    whole: Path, base: Base, tmp_path: Path
) -> None:
    assert "there is no such folder" in refused(tmp_path / "nowhere", base, tmp_path)
    (whole / "config.json").unlink()
    assert "neither config.json nor adapter_config.json" in refused(whole, base, tmp_path)


def test_a_quantised_base_and_a_whole_model_are_not_merged(
    adapter: Path, whole: Path, base: Base, tmp_path: Path
) -> None:
    adopted = adopt(adapter, base, tmp_path / "adopted").folder
    with pytest.raises(TrainingError, match="whole model and no adapter"):
        write_merged(base, whole, tmp_path / "merged")
    change(whole / "config.json", quantization_config={"quant_method": "bitsandbytes"})
    with pytest.raises(TrainingError, match="demo/tiny-llama is quantised"):
        write_merged(Base(whole, base.repo, base.sha), adopted, tmp_path / "merged")


@pytest.mark.parametrize(
    "text", ["/home/me/base", "~/models/base", "C:\\models\\base", "file:///tmp/x", "/tmp/x"]
)
def test_places_on_machines_are_known(text: str) -> None:
    assert is_local_path(text)


@pytest.mark.parametrize("text", ["meta-llama/Llama-2-7b-hf", "/", "</s>", "", "a / b", "https://x.org/y"])
def test_other_texts_are_no_places(text: str) -> None:
    assert not is_local_path(text)


@given(st.text())
def test_any_text_is_judged(text: str) -> None:
    assert is_local_path(text) in (True, False)
    assert not is_local_path(text + "\n")
