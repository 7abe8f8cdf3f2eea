from __future__ import annotations

import ast

import pytest
from card_samples import model_facts
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st

from dataset_cards.model import model_card


def snippet(card: str) -> str:
    """Return the code that the card tells its reader to run."""
    return card.split("```python\n")[1].split("\n```", maxsplit=1)[0]


def calls(card: str) -> dict[str, list[object]]:
    """Return what the snippet's `from_pretrained` calls load, and at which revisions."""
    found: dict[str, list[object]] = {}
    for node in ast.walk(ast.parse(snippet(card))):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "from_pretrained"
        ):
            loads = [ast.literal_eval(item) for item in node.args if isinstance(item, ast.Constant)]
            found[ast.unparse(node.func.value)] = [
                *loads,
                *(ast.literal_eval(key.value) for key in node.keywords),
            ]
    return found


def test_the_hub_reads_the_metadata_of_an_adapter() -> None:
    found = ModelCard(model_card(model_facts())).data
    assert (found.base_model, found.base_model_relation) == ("demo/smollm2", "adapter")
    assert (found.library_name, found.pipeline_tag) == ("peft", "text-generation")
    assert found.datasets == ["demo/backforth-curated"]
    assert (found.license, found.language) == ("apache-2.0", ["en"])
    assert {"backforth", "arxiv:2408.04614"} <= set(found.tags)


@pytest.mark.parametrize("base", ["/tmp/models/base", "./base", "a/b/c", None, "..", "C:\\base"])
def test_a_local_base_is_no_base_model_of_the_hub(base: str | None) -> None:
    found = ModelCard(model_card(model_facts(base=base))).data.to_dict()
    assert not {"base_model", "base_model_relation"} & set(found)


def test_an_adapter_loads_onto_its_base_at_both_revisions() -> None:
    assert calls(model_card(model_facts())) == {
        "AutoTokenizer": ["demo/backforth-final-135m", "v2"],
        "AutoModelForCausalLM": ["demo/smollm2", "c" * 40],
        "PeftModel": ["demo/backforth-final-135m", "v2"],
    }


def test_full_weights_load_without_the_base() -> None:
    card = model_card(model_facts(relation="finetune", method="full"))
    assert calls(card) == {
        "AutoTokenizer": ["demo/backforth-final-135m", "v2"],
        "AutoModelForCausalLM": ["demo/backforth-final-135m", "v2"],
    }
    assert ModelCard(card).data.library_name == "transformers"


@given(st.text(alphabet="`\"'\\\n\r\t{}%<|>\u202e\ud800aé", min_size=1, max_size=40))
def test_the_snippet_asks_with_the_prompt_as_trained(prompt: str) -> None:
    tree = ast.parse(snippet(model_card(model_facts(example_prompt=prompt))))
    values = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "prompt"
    ]
    assert [ast.literal_eval(value) for value in values] == [prompt]


def test_a_long_prompt_is_asked_without_its_middle() -> None:
    prompt = "<|im_start|>user\n" + "a long prompt " * 100 + "<|im_end|>\n<|im_start|>assistant\n"
    card = model_card(model_facts(example_prompt=prompt))
    asked = ast.literal_eval(snippet(card).split("prompt = ")[1].split("\n")[0])
    assert len(asked) < 850
    assert asked.startswith("<|im_start|>user\na long prompt")
    assert asked.endswith("<|im_end|>\n<|im_start|>assistant\n")
    assert prompt.strip() in card


def test_every_hyperparameter_is_in_the_table() -> None:
    card = model_card(
        model_facts(settings={"lora": {"r": 16, "targets": ["q", "v"]}, "lr": 1e-5, "packing": False})
    )
    for row in ("`lora.r` | `16`", "`lora.targets` | `['q', 'v']`", "`lr` | `1e-05`", "`packing` | `False`"):
        assert f"| {row} |" in card


def test_the_loss_curve_has_its_first_and_last_step() -> None:
    section = model_card(model_facts()).split("## Loss")[1].split("##")[0]
    steps, _, losses = [line.split("|")[2:-1] for line in section.splitlines() if line.startswith("|")]
    assert (int(steps[0]), int(steps[-1])) == (1, 30)
    assert (float(losses[0]), float(losses[-1])) == (4.0, 0.133)
    assert len(steps) == len(losses) == 10
    assert "](pictures/loss.png)" in section


def test_a_model_without_a_curve_or_a_prompt_has_no_such_sections() -> None:
    card = model_card(model_facts(losses=[], example_prompt="", settings={}, sources=[], counts={}))
    assert "## Loss" not in card
    assert "## Prompt format" not in card
    assert "This model is under `apache-2.0`.\n" in card


def test_a_loss_that_is_not_a_number_is_shown_as_it_is() -> None:
    assert "nan" in model_card(model_facts(losses=[(1, 2.0), (2, float("nan")), (3, float("inf")), (4, 1.0)]))
