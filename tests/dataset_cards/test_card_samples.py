"""What a model answers to held-out prompts, on its card: beside the data, and never as markup."""

from __future__ import annotations

from card_samples import model_facts

from dataset_cards.facts import Example
from dataset_cards.model import model_card


def test_held_out_losses_and_answers_are_on_the_card() -> None:
    sample = Example(
        id="ab12", head={"prompt": "Say hi."}, columns={"the data": "Hi!", "the model": "<b>Hi</b> | `there`"}
    )
    card = model_card(model_facts(held_out=[(10, 2.5), (20, 2.25)], samples=[sample]))
    assert "| Step | 10 | 20 |" in card
    assert "| Loss on held-out pairs | 2.500 | 2.250 |" in card
    assert "Say hi." in card
    assert "<b>" not in card
    (row,) = [line for line in card.splitlines() if line.startswith("| Hi!")]
    assert row.replace("\\|", "").count("|") == 3


def test_a_card_without_them_says_nothing() -> None:
    card = model_card(model_facts())
    assert "held-out" not in card
