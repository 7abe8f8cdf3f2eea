"""What the asking stages make of a model's answers."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stage_support import RENDER, SHARED, answer

from hub_tools.records import Backtranslated, Generation, Response, Rewritten, Scored
from hub_tools.stages.backtranslate import BacktranslateConfig, backtranslate
from hub_tools.stages.curate import CurateConfig, curate
from hub_tools.stages.distill import DistillConfig, distill
from hub_tools.stages.registry import Ask, Reject
from hub_tools.stages.rewrite import RewriteConfig, rewrite
from hub_tools.stages.score import expected_score, parse_score

DOCUMENT = Response(
    id="0" * 16,
    source="s",
    url="u",
    license="mit",
    text="Tea {{ 7 * 7 }} <b>",
    n_tokens=5,
    created=None,
    dump=None,
)
SHAPES = [
    ("Score: 4.0", 4),
    ("Score: 4.5", None),
    ("Score: 4 or 5", None),
    ("5", 5),
    ('{"score": 4}', 4),
    ("Score: [1-5]", None),
    ("Score: 0", None),
    ("Score: 6", None),
    ("**Rating**: 4", 4),
    ("Score:\n4", 4),
    ("I rate it 4.", 4),
    ("Score: <rating>", None),
    ("Score: 3 out of 10", None),
    ("Good.\n4", 4),
    ("4\nIt is fine.", 4),
    ("", None),
    ("In 2024 there were 3 of them.", None),
]


def scored(number: int, score: int | None = 5, expected: float | None = None) -> Scored:
    return Scored(
        id=f"{number:016x}",
        source="s",
        url=None,
        license="mit",
        instruction="Say it",
        response="the web text",
        score=score,
        expected_score=expected,
        judgement="",
        rule="label",
        generation=answer("").generation,
    )


def make(function: Any, config: Any) -> Ask[Any, Any]:
    task = function(config, RENDER)
    assert isinstance(task, Ask)
    return task


@pytest.mark.parametrize(("text", "score"), SHAPES)
def test_a_score_is_read_or_refused(text: str, score: int | None) -> None:
    assert parse_score(text).value == score


@pytest.mark.skipif(not SHARED.is_dir(), reason="the score shapes lie in ../shared/data, which is absent")
def test_every_shape_of_the_collection_is_read_right() -> None:
    shapes = json.loads((SHARED / "score_shapes.json").read_text(encoding="utf-8"))
    wrong = [shape["text"] for shape in shapes if parse_score(shape["text"]).value != shape["score"]]
    assert not wrong


@given(st.text())
def test_any_text_gives_a_valid_score_or_none(text: str) -> None:
    assert parse_score(text).value in (None, 1, 2, 3, 4, 5)


def test_the_expected_score_weighs_the_digits_at_the_score() -> None:
    tokens = [
        ("Score", {"Score": 0.0, "5": -9.0}),
        (": ", {": ": 0.0}),
        ("4", {"4": math.log(0.6), "5": math.log(0.2), " 3": math.log(0.2), "x": -0.1}),
    ]
    assert expected_score(tokens, 4) == pytest.approx(4.0)
    assert expected_score(tokens, None) is None
    assert expected_score([], 4) is None


def test_a_document_is_text_in_a_prompt_and_never_a_template() -> None:
    (message,) = make(backtranslate, BacktranslateConfig()).prompt(DOCUMENT)
    assert "Tea {{ 7 * 7 }} <b>" in message["content"]
    assert message["content"].endswith("Answer in the style of an AI Assistant.")


@pytest.mark.parametrize(
    ("text", "finish", "reason"),
    [("  ", "stop", "empty"), ("Why tea", "length", "truncated"), ("Tea {{ 7", "stop", "copied")],
)
def test_an_instruction_that_is_none_is_rejected(text: str, finish: str, reason: str) -> None:
    result = make(backtranslate, BacktranslateConfig()).parse(answer(text, finish), DOCUMENT)
    assert isinstance(result, Reject)
    assert result.reason == reason


def test_a_good_instruction_becomes_a_row_that_keeps_where_it_came_from() -> None:
    result = make(backtranslate, BacktranslateConfig()).parse(answer(" Why drink tea? "), DOCUMENT)
    assert isinstance(result, Backtranslated)
    assert (result.id, result.url, result.instruction) == (DOCUMENT.id, "u", "Why drink tea?")
    assert isinstance(result.generation, Generation)


def test_a_judgement_without_a_score_stays_with_a_null_and_is_counted() -> None:
    task = make(curate, CurateConfig())
    row = Backtranslated(
        id="1" * 16,
        source="s",
        url=None,
        license="mit",
        instruction="i",
        response="r",
        generation=answer("").generation,
    )
    result = task.parse(answer("I cannot say."), row)
    assert isinstance(result, Scored)
    assert result.score is None
    assert task.note is not None
    note = task.note([scored(1), scored(2, None)])
    assert "1 of 2 judgements (50 %" in note
    assert "The judge wrote freely. Pairs with a score of 5 or more are kept." in note


def test_a_judge_that_was_held_to_a_grammar_is_said_to_be() -> None:
    config = CurateConfig(grammar="Score: [1-5]", keep_by="expected_score", min_score=1, keep_share=0.5)
    note = make(curate, config).note
    assert note is not None
    assert "held to the form of its answer by a grammar" in note([scored(1)])
    assert "under the judge's own probabilities" in note([scored(1)])
    assert "At most 50 % of all pairs" in note([scored(1)])


def test_only_fives_are_kept_unless_the_recipe_says_otherwise() -> None:
    rows = [scored(1, 5), scored(2, 4), scored(3, None), scored(4, 5)]
    task = make(curate, CurateConfig())
    assert task.kept is not None
    passes = task.kept(rows)
    assert [row.id[-1] for row in rows if passes(row)] == ["1", "4"]


def test_a_share_is_kept_by_expected_score_and_ties_are_settled_the_same_way_each_time() -> None:
    rows = [scored(n, 3, value) for n, value in enumerate([3.0, 4.5, 3.0, None, 3.0])]
    task = make(curate, CurateConfig(keep_by="expected_score", min_score=1, keep_share=0.4))
    assert task.kept is not None
    one, other = task.kept(rows), task.kept(rows[::-1])
    kept = [row.id for row in rows if one(row)]
    assert kept == [row.id for row in rows if other(row)]
    assert len(kept) == 2
    assert rows[1].id in kept
    assert task.request["logprobs"] is True


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Sure. [RES] Drink tea. [/RES] Bye", "Drink tea."),
        ("[RES]one[/RES] then [RES]two[/RES]", "two"),
        ("[RES] [/RES]", "empty"),
        ("no marks", "no_marks"),
        ("[RES] never ends", "no_marks"),
    ],
)
def test_the_rewritten_answer_is_what_stands_between_the_marks(text: str, expected: str) -> None:
    result = make(rewrite, RewriteConfig()).parse(answer(text), scored(1))
    assert (result.reason if isinstance(result, Reject) else result.response) == expected


def test_the_draft_is_in_the_rewriting_prompt_and_not_in_the_distilling_one() -> None:
    row = scored(1)
    assert "the web text" in make(rewrite, RewriteConfig()).prompt(row)[0]["content"]
    assert make(distill, DistillConfig()).prompt(row) == [{"role": "user", "content": "Say it"}]


def test_a_rewritten_row_is_a_chat_and_keeps_the_draft() -> None:
    result = make(distill, DistillConfig()).parse(answer("Because."), scored(1))
    assert isinstance(result, Rewritten)
    assert result.draft == "the web text"
    assert [message["content"] for message in result.messages] == ["Say it", "Because."]
