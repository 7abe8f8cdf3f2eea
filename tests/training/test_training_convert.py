from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_samples import TEMPLATE, write_gguf
from transformers import AutoModelForCausalLM, AutoTokenizer

from training import convert
from training.convert import convert_gguf
from training.errors import ConversionError
from training.publish import Base

TEXT = "abc  5 days"


@pytest.fixture
def gguf(base: Base, tmp_path: Path) -> Path:
    return write_gguf(base.path, tmp_path / "model" / "tiny.gguf", pre="default")


def test_the_converted_model_computes_what_the_original_computes(base: Base, gguf: Path, tmp_path: Path):
    converted = convert_gguf(gguf, tmp_path / "out")
    assert converted.folder == tmp_path / "out"
    ids = torch.arange(3, 40)[None]
    original = AutoModelForCausalLM.from_pretrained(base.path)
    ours = AutoModelForCausalLM.from_pretrained(converted.folder)
    assert converted.parameters == original.num_parameters()
    with torch.inference_mode():
        assert torch.equal(ours(ids).logits, original(ids).logits)
    assert {tensor.dtype for tensor in load_file(tmp_path / "out" / "model.safetensors").values()} == {
        torch.bfloat16
    }


def test_the_converted_tokenizer_has_what_training_and_serving_need(gguf: Path, tmp_path: Path):
    folder = convert_gguf(gguf, tmp_path / "out").folder
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.model_max_length == 256
    assert tokenizer.padding_side == "left"
    assert tokenizer.chat_template == TEMPLATE
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (2, 0)
    kept = json.loads((folder / "tokenizer_config.json").read_text())
    assert not {"is_local", "local_files_only"} & kept.keys()
    for path in folder.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()


def test_digits_stand_alone_where_the_gguf_says(base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    plain = convert_gguf(write_gguf(base.path, tmp_path / "a" / "a.gguf", pre="default"), tmp_path / "plain")
    expected = AutoTokenizer.from_pretrained(plain.folder)
    ids = [token for part in ("abc  ", "5", " days") for token in expected(part).input_ids]
    assert ids != expected(TEXT).input_ids
    monkeypatch.setitem(convert.KNOWN_ENCODING, "smollm", (TEXT, ids))
    monkeypatch.setattr(convert, "CAPITAL", ("The capital of France is", ""))
    gguf = write_gguf(base.path, tmp_path / "b" / "b.gguf", pre="smollm")
    assert AutoTokenizer.from_pretrained(convert_gguf(gguf, tmp_path / "smol").folder)(TEXT).input_ids == ids


def test_a_wrong_tokenizer_is_refused_and_leaves_what_was_there(base: Base, tmp_path: Path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("before")
    gguf = write_gguf(base.path, tmp_path / "b" / "b.gguf", pre="smollm")
    with pytest.raises(
        ConversionError, match=r"encodes 'abc  5 days' as .*llama.cpp as \[25276, 256, 37, 2009\]"
    ):
        convert_gguf(gguf, out)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "out"]


def test_wrong_weights_are_refused(base: Base, tmp_path: Path):
    gguf = write_gguf(base.path, tmp_path / "b" / "b.gguf", pre="default", broken=True)
    with pytest.raises(ConversionError, match="infinite or undefined logits"):
        convert_gguf(gguf, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content", [b"", b"not a model at all", b"GGUF\x03\x00\x00\x00"], ids=["empty", "text", "cut"]
)
def test_a_file_that_is_no_gguf_is_refused_in_one_line(tmp_path: Path, content: bytes):
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    with pytest.raises(ConversionError, match=r"x\.gguf: not a readable GGUF file") as caught:
        convert_gguf(path, tmp_path / "out")
    assert "\n" not in str(caught.value)
