from __future__ import annotations

import ast

import pytest
from card_samples import lineage, model_facts
from huggingface_hub import ModelCard
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from dataset_cards import usage
from dataset_cards.facts import Evaluation
from dataset_cards.model import model_card, model_files


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


@settings(deadline=None)
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


def asked(card: str) -> str:
    """Return the prompt that the snippet sends."""
    return str(ast.literal_eval(snippet(card).split("prompt = ")[1].split("\n")[0]))


def test_a_chat_is_asked_through_the_template() -> None:
    card = model_card(model_facts(example_prompt="user: What is `x`?\nTell me."))
    assert asked(card) == "What is `x`?\nTell me."
    assert "apply_chat_template" in snippet(card)
    assert "user: What" not in card
    ast.parse(snippet(card))


@pytest.mark.parametrize("tag", [usage.SEED_TAG, usage.WEB_TAG])
def test_the_final_model_is_asked_with_a_source_tag(tag: str) -> None:
    card = model_card(model_facts(stage="train-final", example_prompt=f"user: Say hi.\n\n{tag}"))
    assert asked(card).endswith(f"?\n\n{tag}")
    section = card.split("## Prompt format")[1].split("## ")[0]
    assert [f"| `{found}` |" in section for found in (usage.SEED_TAG, usage.WEB_TAG, usage.BOTH_TAG)] == [
        True
    ] * 3


def test_a_model_of_seed_pairs_alone_is_asked_with_their_tag_only() -> None:
    facts = model_facts(stage="train-forward", example_prompt=f"user: Say hi.\n\n{usage.SEED_TAG}")
    section = model_card(facts).split("## Prompt format")[1].split("## ")[0]
    assert f"| `{usage.SEED_TAG}` |" in section
    assert usage.WEB_TAG not in section


def test_the_backward_model_is_asked_in_the_form_of_its_own_prompt() -> None:
    prompt = f"Which question does this text answer?\n\n{'text ' * 900}\n\n{usage.SEED_TAG}"
    card = model_card(model_facts(stage="train-backward", example_prompt=f"user: {prompt}"))
    assert asked(card).startswith("Which question does this text answer?")
    assert asked(card).endswith(usage.SEED_TAG)


def test_the_tags_are_those_of_the_training() -> None:
    from training import views

    assert (usage.SEED_TAG, usage.WEB_TAG, usage.BOTH_TAG) == (views.SEED_TAG, views.WEB_TAG, views.EVAL_TAG)


def test_the_hub_reads_the_evaluations() -> None:
    measured = [
        Evaluation(
            task="instruction following", dataset="tatsu-lab/alpaca_eval", metric="win rate", value=74.38
        ),
        Evaluation(task="commonsense", dataset="HellaSwag", metric="acc_norm", value=0.568),
        Evaluation(task="commonsense", dataset="HellaSwag", metric="acc", value=float("nan")),
    ]
    card = model_card(model_facts(evaluations=measured))
    found = ModelCard(card).data
    assert found.model_name == "backforth-final-135m"
    assert [(item.dataset_type, item.metric_type, item.metric_value) for item in found.eval_results] == [
        ("tatsu-lab/alpaca_eval", "win_rate", 74.38),
        ("hellaswag", "acc_norm", 0.568),
    ]
    assert "| commonsense | HellaSwag | acc\\_norm | 0.568 |" in card
    assert "| commonsense | HellaSwag | acc | nan |" in card
    assert "It has not been evaluated" not in card


def test_a_model_without_evaluations_says_so() -> None:
    card = model_card(model_facts())
    assert "model-index" not in card
    assert "It has not been evaluated" in card


def test_the_pictures_of_a_model_are_in_its_repo() -> None:
    files = model_files(model_facts(lineage=lineage("mix>final")))
    assert set(files) == {"README.md", "pictures/loss.png", "pictures/lineage.svg"}
    assert all(f"({path})".encode() in files["README.md"] for path in files if path != "README.md")
    assert set(model_files(model_facts(losses=[(1, 2.0)]))) == {"README.md"}


def test_the_licence_of_the_base_and_of_the_data_are_explained() -> None:
    card = model_card(model_facts(license="llama2", licenses=["odc-by", "llama2"]))
    assert "Of odc-by and llama2 the strictest is llama2" in card
    assert ModelCard(card).data.license == "llama2"
    assert "700 million" in card


def test_an_unknown_licence_is_named_and_linked() -> None:
    terms = "https://example.org/Model-Terms"
    found = ModelCard(model_card(model_facts(license="other", licenses=["mit", terms]))).data
    assert (found.license, found.license_name) == ("other", "example.org-model-terms")
    assert found.license_link == terms


def hostile_card(text: str) -> str:
    """Return a card in which everything that others can write is this text."""
    return model_card(
        model_facts(
            settings={text: text},
            counts={text: 1},
            notes=[text],
            summary=text,
            method=text,
            base=text,
            base_sha=text,
            example_prompt=f"user: {text} ",
            license=text,
            evaluations=[Evaluation(task=text, dataset=text, metric=text, value=1.0)],
        )
    )


@settings(deadline=None)
@given(
    st.one_of(
        st.text(min_size=1, max_size=40),
        st.text(
            alphabet="`~<>|\\*_[]()!#&;:/-+=$ '\"{}%,\n\r\t\x00\u2028\ud800ab1.", min_size=1, max_size=40
        ),
        st.sampled_from(["---\nlicense: mit\n---", "```\n# out", "{{ 7*7 }}", "-->", "$$x$$", "<script>"]),
    ).filter(str.strip)
)
def test_no_text_breaks_a_model_card(text: str) -> None:
    def blocks(card: str) -> list[str]:
        page = MarkdownIt("commonmark").enable("table")
        return [token.type for token in page.parse(card.split("\n---\n", 1)[1])]

    card = hostile_card(text)
    assert blocks(card) == blocks(hostile_card("plain"))
    assert ModelCard(card).data.eval_results[0].metric_value == 1.0
    ast.parse(snippet(card))
    card.encode()
