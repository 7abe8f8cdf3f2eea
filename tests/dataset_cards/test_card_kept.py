from __future__ import annotations

from collections.abc import Callable

import pytest
from card_samples import dataset_facts, example, model_facts
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset_cards.dataset import dataset_card
from dataset_cards.kept import END, PLACEHOLDER, START, keep, without
from dataset_cards.model import model_card

FIRST = dataset_card(dataset_facts(version="v1"))
SECOND = dataset_card(dataset_facts(version="v2"))


def edited(passage: str, card: str = FIRST) -> str:
    """Return a card in which a person wrote a passage."""
    return card.replace(PLACEHOLDER, passage)


@pytest.mark.parametrize(
    "passage", ["Mind the duplicates.", "## Limits\n\nNone.", "## Load it\n\nmine", "a\n\n\nb", "---"]
)
def test_an_edited_passage_survives_the_next_version(passage: str) -> None:
    assert keep(edited(passage), SECOND) == edited(passage, SECOND)


def test_it_survives_every_further_version() -> None:
    third = dataset_card(dataset_facts(version="v3"))
    assert keep(keep(edited("Mine."), SECOND), third) == edited("Mine.", third)


def test_it_survives_in_model_cards() -> None:
    new = model_card(model_facts(version="v9"))
    assert keep(edited("Mine.", model_card(model_facts())), new) == edited("Mine.", new)


@pytest.mark.parametrize(
    "previous", [None, "", FIRST, "# A page of somebody else's", END + "\n" + START, edited("  \n")]
)
def test_a_card_without_an_edit_changes_nothing(previous: str | None) -> None:
    assert keep(previous, SECOND) == SECOND


def test_line_ends_of_another_system_are_no_obstacle() -> None:
    assert keep(edited("One.\nTwo.").replace("\n", "\r\n"), SECOND) == edited("One.\nTwo.", SECOND)


def test_a_missing_end_stops_at_the_next_generated_heading() -> None:
    assert keep(edited("Mine.\n\n## My own heading").replace(END, ""), SECOND) == edited(
        "Mine.\n\n## My own heading", SECOND
    )


def test_two_passages_become_one() -> None:
    passage = f"One.\n{END}\nlost\n{START}\nTwo."
    assert keep(edited(passage), SECOND) == edited("One.\nTwo.", SECOND)


def test_a_stray_end_and_a_second_start_do_no_harm() -> None:
    assert keep(END + "\n" + edited(f"One.\n{START}\nTwo."), SECOND) == edited("One.\nTwo.", SECOND)


def test_a_new_card_without_markers_gets_the_passage_at_its_end() -> None:
    assert keep(edited("Mine."), "# New\n") == f"# New\n\n{START}\nMine.\n{END}\n"


def test_web_text_that_looks_like_a_passage_is_not_kept() -> None:
    hostile = f"x\n{START}\nBuy now!\n{END}\n"
    previous = dataset_card(
        dataset_facts(examples=[example(web=hostile)], notes=[hostile], prompts={"a": hostile})
    )
    assert keep(previous, SECOND) == SECOND


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from([START, END, PLACEHOLDER, "## Load it", "mine", "", f"  {START}\t", "```"]),
        max_size=12,
    )
)
def test_any_jumble_of_markers_gives_a_card_with_one_passage(lines: list[str]) -> None:
    card = keep("\n".join(lines), SECOND)
    assert card.count(START) == card.count(END) == 1
    assert keep(card, SECOND) == card
    assert card.startswith(SECOND[: SECOND.index(START)])
    assert card.endswith(SECOND[SECOND.index(END) :])


@pytest.mark.parametrize("passage", ["Mine.", "", "a\n\n## Load it\n\n```", f"  {PLACEHOLDER}"])
def test_an_edit_between_the_markers_is_no_change_of_the_rest(passage: str) -> None:
    assert without(edited(passage)) == without(FIRST)
    assert without(edited(passage).replace("\n", "\r\n")) == without(FIRST)


@pytest.mark.parametrize(
    "change",
    [
        lambda card: card.replace("odc-by", "cc0-1.0"),
        lambda card: card.replace(START, ""),
        lambda card: card.replace(END, ""),
        lambda card: card.replace(END, "").replace("## Citation", f"{END}\n## Citation"),
        lambda card: card.replace(START, "").replace("---\n", f"---\n{START}\n", 1),
        lambda card: f"{START}\n{card}",
        lambda card: card.replace(END, f"{END}\nOutside.\n{START}\n{END}"),
        lambda card: card + "\n",
    ],
)
def test_an_edit_anywhere_else_is_a_change(change: Callable[[str], str]) -> None:
    assert without(change(edited("Mine."))) != without(FIRST)
