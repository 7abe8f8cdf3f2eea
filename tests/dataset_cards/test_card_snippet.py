from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from card_samples import model_facts
from training_samples import TEMPLATE, make_model, make_tokenizer

from dataset_cards.model import model_card
from dataset_cards.usage import WEB_TAG


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Save a tiny model where the snippet finds it; one thread, as others run beside it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("model")
    make_tokenizer().save_pretrained(path)
    make_model().save_pretrained(path)
    yield path
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("stage", "prompt", "asked"),
    [
        ("train-final", f"user: Say hi.\n\n{WEB_TAG}", f"oven?\n\n{WEB_TAG}<|end|>\n<|start|>assistant\n"),
        (
            "train-backward",
            'user: What asks for "this"?',
            'What asks for "this"?<|end|>\n<|start|>assistant\n',
        ),
        ("train", "<|start|>user\nHi<|end|>\n", "<|start|>user\nHi<|end|>\n"),
    ],
)
def test_the_code_on_the_card_runs_and_asks_in_the_trained_form(
    model: Path, stage: str, prompt: str, asked: str, capsys: pytest.CaptureFixture[str]
) -> None:
    card = model_card(model_facts(repo=str(model), relation="finetune", stage=stage, example_prompt=prompt))
    code = card.split("```python\n")[1].split("\n```", maxsplit=1)[0]
    found: dict[str, object] = {}
    exec(code.replace("max_new_tokens=200", "max_new_tokens=8"), found)
    assert capsys.readouterr().out
    tokenizer, inputs = found["tokenizer"], found["inputs"]
    assert tokenizer.chat_template == TEMPLATE
    assert tokenizer.decode(inputs["input_ids"][0]).endswith(asked)
