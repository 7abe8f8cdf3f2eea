"""What becomes of a row: cut off, too long, refused, failing, and when a run had better stop."""

from __future__ import annotations

import json
import random
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from fault_server import serving
from generate_support import generator, outcomes, rows

from hub_tools.endpoints import pool, replica
from hub_tools.errors import BackforthError, EndpointDown, RecipeError
from hub_tools.recipe import EndpointSection, StopWhen, parse
from hub_tools.records import Rejected
from hub_tools.stages.curate import CurateConfig
from hub_tools.stages.registry import Answer, AskConfig, Reject


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "LONGEST_PAUSE", 0.02)
    monkeypatch.setattr(replica, "LONGEST_REST", 0.05)


def whole_answers_only(answer: Answer, row: Any) -> Any:
    return Reject("truncated") if answer.truncated else row


def test_an_answer_that_was_cut_off_gets_more_room_once(tmp_path: Path) -> None:
    def fault(number: int, body: dict[str, Any]) -> str | None:
        text = body["messages"][0]["content"]
        return "cut" if text == "t1" or (text == "t2" and body["max_tokens"] == 100) else None

    with serving(fault) as server:
        work = generator(server, tmp_path / "j", max_new_tokens=100, attempts=3, parse=whole_answers_only)
        found = outcomes(work, 4)
    assert [isinstance(row, Rejected) for row in found] == [False, True, False, False]
    assert found[1].reason == "truncated"
    assert sorted(server.rooms) == [100, 100, 100, 100, 200, 200]
    assert (server.requests["t1"], server.requests["t2"]) == (2, 2)


def test_a_stage_may_leave_cut_off_answers_at_that(tmp_path: Path) -> None:
    with serving(lambda *_: "cut") as server:
        work = generator(server, tmp_path / "j", attempts=2, more_room=1, parse=whole_answers_only)
        assert all(row.reason == "truncated" for row in outcomes(work, 2))
    assert set(server.rooms) == {512}
    assert server.requests.total() == 4


def test_more_room_than_the_server_has_leaves_the_answer_truncated(tmp_path: Path) -> None:
    def fault(number: int, body: dict[str, Any]) -> int | str:
        return 422 if body["max_tokens"] > 100 else "cut"

    with serving(fault) as server:
        work = generator(server, tmp_path / "j", max_new_tokens=100, parse=whole_answers_only)
        assert [row.reason for row in outcomes(work, 2)] == ["truncated", "truncated"]


def test_a_row_that_cannot_fit_is_rejected_before_it_is_sent(tmp_path: Path) -> None:
    long = "word " * 600
    with serving() as server:
        server.about |= {"max_input_tokens": 500, "max_total_tokens": 1024}
        work = generator(server, tmp_path / "j", texts={1: long, 2: "word " * 400})
        found = outcomes(work, 3)
        assert server.requests[long] == 0
        assert found[1].reason == "too_long"
        assert found[1].detail == "600 tokens, and there is room for 500 beside 512 of answer"
        assert not isinstance(found[2], Rejected)
        server.about |= {"max_input_tokens": 4000, "max_total_tokens": 8000}
        again = outcomes(generator(server, tmp_path / "j", texts={1: long, 2: "word " * 400}), 3)
    assert not any(isinstance(row, Rejected) for row in again)
    assert server.requests.total() == 3


def test_a_row_that_fails_wherever_it_is_sent_is_rejected_and_the_others_go_on(tmp_path: Path) -> None:
    def fault(number: int, body: dict[str, Any]) -> int | None:
        return 500 if body["messages"][0]["content"] == "t5" else None

    with serving(fault) as one, serving(fault) as other:
        found = outcomes(generator([one, other], tmp_path / "j", tries=3), 40)
        assert [row.reason for row in found if isinstance(row, Rejected)] == ["failed", "seven"]
        assert "500: no" in found[5].detail
        assert min(one.requests["t5"], other.requests["t5"]) >= 1


def test_hangs_are_cut_short_and_change_no_row(tmp_path: Path) -> None:
    chance = random.Random(7)

    def fault(number: int, body: dict[str, Any]) -> int | str | None:
        return chance.choices([429, 503, "hang", "torn", None], [5, 2, 1, 1, 91])[0]

    with serving() as calm, serving(fault) as wild:
        expected = outcomes(generator(calm, tmp_path / "a"), 150)
        assert outcomes(generator(wild, tmp_path / "b", timeout=0.5), 150) == expected


def answer(content: str = '"fine"', reason: str = '"stop"', tokens: str = "2", more: str = "") -> bytes:
    choice = f'{{"message": {{"content": {content}}}, "finish_reason": {reason}{more}}}'
    usage = f'{{"prompt_tokens": 3, "completion_tokens": {tokens}}}'
    return f'{{"choices": [{choice}], "usage": {usage}}}'.encode()


NO_ANSWERS = [
    b"<html>log in</html>",
    b'{"error": "failed", "error_type": "generation"}',
    b'{"choices": []}',
    b'{"choices": [{"message": {"content": "\xff"}}]}',
    b"",
    b"null",
    b"[" * 100_000,
    answer(content="5"),
    answer(content='"half a pair \\ud800"'),
    answer(reason="null"),
    answer(reason='"abort"'),
    *(answer(tokens=tokens) for tokens in ("NaN", "1e999", "-1", "1" + "0" * 30, '"many"')),
    *(
        answer(more=f', "logprobs": {{"content": [{{"token": "a", "top_logprobs": {tops}}}]}}')
        for tops in (
            '[{"token": "a", "logprob": 1e9}]',
            '[{"token": "a", "logprob": NaN}]',
            '[{"token": 1}]',
            "1",
        )
    ),
]


def test_what_is_no_answer_is_asked_for_again_and_changes_no_row(tmp_path: Path) -> None:
    faults = iter(NO_ANSWERS)
    with serving() as calm, serving(lambda n, _: next(faults, None) if n % 3 else None) as wild:
        expected = outcomes(generator(calm, tmp_path / "a"), 80)
        assert (
            outcomes(generator(wild, tmp_path / "b", tries=len(NO_ANSWERS) + 1, patience=9), 80) == expected
        )
    assert wild.requests.total() == calm.requests.total() + len(NO_ANSWERS)


def test_what_came_in_place_of_an_answer_is_shown(tmp_path: Path) -> None:
    told = r"cannot be read \(KeyError: 'choices'\): out of \S+ memory;"
    with (
        serving(lambda *_: b'{"error": {"message": "out of \\u001b[31m memory"}}') as server,
        pytest.raises(EndpointDown, match=told),
    ):
        outcomes(generator(server, tmp_path / "j", tries=2), 3)


def test_limits_that_are_none_are_done_without(tmp_path: Path) -> None:
    with serving() as server:
        server.about |= {"max_concurrent_requests": "many", "max_input_tokens": -1, "max_total_tokens": 1e9}
        assert len(outcomes(generator(server, tmp_path / "j"), 20)) == 20


def test_a_run_stops_when_too_many_rows_are_rejected_and_shows_examples(tmp_path: Path) -> None:
    def parse_nothing(answer: Answer, row: Any) -> Any:
        return Reject("no_marks", "an answer\nwithout \x1b[31mmarks")

    stop = StopWhen(rejected=0.5, of_at_least=20)
    with serving() as server, pytest.raises(BackforthError) as stopped:
        outcomes(generator(server, tmp_path / "j", stop_when=stop, parse=parse_nothing), 500)
    message = str(stopped.value)
    assert message.startswith("stage: 20 of the first 20 rows were rejected")
    assert "stop_when.rejected is 0.5" in message
    assert f"20 no_marks, such as row {rows(500)[0].id[:8]}" in message
    assert "answer 'echo t" in message
    assert message.isprintable()
    assert server.requests.total() < 60


def test_a_run_stops_when_too_many_requests_fail(tmp_path: Path) -> None:
    answers = count(1)

    def fault(number: int, body: dict[str, Any]) -> int | None:
        return None if next(answers) % 4 == 0 else 500

    stop = StopWhen(failed=0.5, of_at_least=30)
    with serving(fault) as server, pytest.raises(BackforthError, match=r"requests failed, .* 500: no"):
        outcomes(generator(server, tmp_path / "j", stop_when=stop, tries=50), 500)
    assert server.requests.total() < 200


def test_an_answer_of_another_setting_still_counts_where_the_request_is_the_same(tmp_path: Path) -> None:
    with serving() as server:
        outcomes(generator(server, tmp_path / "j", attempts=1), 10)
        outcomes(generator(server, tmp_path / "j", attempts=3), 10)
        assert server.requests.total() == 12
        outcomes(generator(server, tmp_path / "j", attempts=3, temperature=0.5), 10)
        assert server.requests.total() == 24


@pytest.mark.parametrize(
    ("model", "settings", "told"),
    [
        (AskConfig, {"top_p": 1.0}, "top_p is 1.0: input should be less than 1"),
        (AskConfig, {"temperature": 0}, "temperature is 0: input should be greater than 0"),
        (AskConfig, {"stop": list("abcde")}, "at most 4 items"),
        (AskConfig, {"stop": [""]}, "at least 1 character"),
        (CurateConfig, {"grammar": "[1-5"}, "it is no regular expression"),
        (EndpointSection, {"model": "m", "url": []}, "give at least one address"),
        (EndpointSection, {"model": "m", "url": ["http://a", "http://a"]}, "there twice"),
        (EndpointSection, {"model": "m", "url": "http://a/v1/chat/completions"}, "without a route"),
        (EndpointSection, {"model": "m", "url": "http://a:99999"}, "port out of range"),
        (EndpointSection, {"model": "m", "url": ["http://a", "ftp://b"]}, "give an address such as"),
        (EndpointSection, {"model": "m", "stop_when": {"rejected": 2}}, "stop_when.rejected is 2"),
    ],
)
def test_values_that_servers_refuse_are_refused_in_the_recipe(
    model: type, settings: dict[str, Any], told: str
) -> None:
    with pytest.raises(RecipeError) as wrong:
        parse(model, settings, "recipe.yaml", "here")
    assert told in str(wrong.value)
    assert json.dumps(str(wrong.value)).count("\\n") == 0
