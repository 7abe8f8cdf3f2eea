"""What a reader who knows nothing of the run finds on a card: columns, reasons, where to look further."""

from __future__ import annotations

from dataclasses import replace

from card_samples import CURATED, dataset_facts, example, model_facts

from dataset_cards.dataset import dataset_card
from dataset_cards.facts import Config, Funnel, Source
from dataset_cards.model import model_card


def test_every_column_is_explained_once_for_all_configs_that_have_it() -> None:
    scored, rejected = dataset_facts().configs
    scored = replace(scored, meanings={"score": "what the judge says"})
    card = dataset_card(
        dataset_facts(configs=[scored, replace(scored, name="kept", default=False), rejected])
    )
    assert "**`rewritten`, `kept`**" in card
    assert card.count("| `score` | `int64` | what the judge says |") == 1
    assert "| `messages` | `list of {role, content}` |" in card
    assert "**`rejected`**" in card


def test_a_reason_is_explained_by_one_of_its_rows() -> None:
    funnel = Funnel(
        read=4, kept=1, rejects={"too_short": 3}, details={"too_short": "7 words | fewer than 20"}
    )
    card = dataset_card(dataset_facts(funnel=funnel))
    assert "| rejected: `too_short` | 3 | 75.0 % | 7 words \\| fewer than 20 |" in card


def test_the_funnel_goes_on_to_what_was_chosen_of_the_kept_rows() -> None:
    scored, rejected = dataset_facts().configs
    kept = Config(name="kept", description="The best", rows=2, bytes=9, features=scored.features)
    card = dataset_card(dataset_facts(configs=[scored, kept, rejected]))
    assert "| kept: the config `rewritten` | 3 | 30.0 % |" in card
    assert "| of these chosen: the config `kept` | 2 | 20.0 % |" in card


def test_the_card_names_the_commands_that_check_it() -> None:
    facts = dataset_facts(examples=[example(web="Some text.")])
    card = dataset_card(facts)
    for command in ("verify", "lineage", "replay"):
        assert f"\nbackforth {command} demo/backforth-rewritten@v2" in card
    assert "\nbackforth trace demo/backforth-rewritten@v2 0000000000000000" in card
    assert "backforth trace" not in model_card(model_facts())


def test_an_input_on_the_hub_is_a_link_to_its_page_at_that_commit() -> None:
    sha = "a" * 40
    card = dataset_card(dataset_facts(sources=[replace(CURATED, node="curate/kept")]))
    assert f"](</datasets/demo/backforth-curated/tree/{sha}>)" in card
    assert "| `curate` | `curate/kept` | `v3` |" in card
    file = Source(
        name="a.jsonl", uri=f"hf://datasets/demo/x@{sha}/a.jsonl", version=None, rows=1, license=None
    )
    assert "](</datasets" not in dataset_card(dataset_facts(sources=[file]))


def test_the_dataset_itself_can_be_cited() -> None:
    card = dataset_card(dataset_facts(repo="demo/a_b", published="2026-11-28"))
    entry = card.split("@misc{")[1].split("\n}\n")[0]
    assert entry.startswith("demo-a-b-v2,")
    assert "title        = {demo/a\\_b, version v2}," in entry
    assert "year         = {2026}," in entry


def test_a_chat_model_that_was_not_trained_here_is_asked_through_its_template() -> None:
    facts = model_facts(losses=[], example_prompt="", chat=True, languages=["en"])
    card = model_card(facts)
    assert "apply_chat_template(" in card
    assert "It takes chats, put into tokens by the tokenizer's own chat template" in card
    assert "trained on chats" not in card
    assert "It was trained here" not in card
    assert "## Settings\n" in card
