"""The curation stage: the forward model judges every pair; all stay with their score, the best go into
`kept`.
"""

from __future__ import annotations

import heapq
import math
import re
from collections.abc import Callable, Iterable
from typing import Any, Literal

from pydantic import Field, field_validator

from hub_tools.records import Backtranslated, Messages, Scored
from hub_tools.stages.registry import Answer, Ask, AskConfig, Input, Render, carry, stage
from hub_tools.stages.score import expected_score, parse_score


class CurateConfig(AskConfig):
    """Settings of curation (paper, section 2.1: T = 1.0, top-p = 0.9; only pairs with a 5 are kept, 13.6 % of
    the pool).
    """

    max_new_tokens: int = Field(256, ge=1, description="Longest judgement, in tokens of the judge.")
    grammar: str | None = Field(
        None,
        description="Hold the judgement to this regular expression (TGI's `response_format`); null "
        "lets the judge write freely.",
    )
    keep_by: Literal["score", "expected_score"] = Field(
        "score",
        description="Keep pairs by the score that was written, or by its mean under the judge's "
        "probabilities.",
    )
    min_score: float = Field(5, ge=1, le=5, description="Keep pairs with this score or a better one.")
    keep_share: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Keep at most this share of all pairs, the best first; null keeps all that "
        "reach min_score.",
    )

    @field_validator("grammar")
    @classmethod
    def _readable(cls, grammar: str | None) -> str | None:
        if grammar == "":
            raise ValueError("give a regular expression, or null")
        try:
            re.compile(grammar or "")
        except re.error as error:
            raise ValueError(f"it is no regular expression: {error}") from error
        return grammar


@stage(
    "curate",
    version=2,
    repo="curated",
    config_name="scored",
    reads={"pairs": Input(Backtranslated, "backtranslate")},
    writes=Scored,
    asks="forward",
    prompts=("judge",),
)
def curate(config: CurateConfig, render: Render) -> Ask[Backtranslated, Scored]:
    """Backtranslated pairs, each with a judge's score of 1 to 5; the best ones are the config `kept`.

    All pairs stay in the config `scored`, so that anybody can choose anew without asking the judge again.
    """

    def prompt(row: Backtranslated) -> Messages:
        content = render("judge", instruction=row.instruction, response=row.response)
        return [{"role": "user", "content": content}]

    def parse(answer: Answer, row: Backtranslated) -> Scored:
        score = parse_score(answer.text)
        return Scored(
            **carry(row),
            instruction=row.instruction,
            response=row.response,
            score=score.value,
            expected_score=expected_score(answer.tokens, score.value),
            judgement=answer.text,
            rule=score.rule,
            generation=answer.generation,
        )

    return Ask(
        prompt=prompt,
        parse=parse,
        request=_request(config),
        kept=lambda rows: _keeper(config, rows),
        note=lambda rows: _note(config, rows),
    )


def _request(config: CurateConfig) -> dict[str, Any]:
    request: dict[str, Any] = {}
    if config.grammar is not None:
        request["response_format"] = {"type": "regex", "value": config.grammar}
    if config.keep_by == "expected_score":
        request |= {"logprobs": True, "top_logprobs": 5}
    return request


def _keeper(config: CurateConfig, rows: Iterable[Scored]) -> Callable[[Scored], bool]:
    """Return the test for `kept`; equal scores at the cut are ordered by id, so that the choice is the same
    every time.
    """

    def rank(row: Scored) -> tuple[float, str]:
        value = row.score if config.keep_by == "score" else row.expected_score
        return (-math.inf if value is None else value, row.id)

    total, reached = 0, []
    for row in rows:
        total += 1
        if rank(row)[0] >= config.min_score:
            reached.append(rank(row))
    room = len(reached) if config.keep_share is None else math.ceil(config.keep_share * total)
    kept = {row_id for _, row_id in heapq.nlargest(room, reached)}
    return lambda row: row.id in kept


def _note(config: CurateConfig, rows: Iterable[Scored]) -> str:
    """Say how many judgements held a score, whether the judge wrote freely, and how pairs were chosen."""
    values = [row.score is not None for row in rows]
    share = sum(values) / len(values) if values else 0.0
    parsed = (
        f"A valid score of 1 to 5 could be read in {sum(values)} of {len(values)} judgements "
        f"({100 * share:.0f} %; the paper: 88 %)."
    )
    held = (
        "The judge was held to the form of its answer by a grammar, so this rate says nothing of "
        "how it judges freely."
        if config.grammar
        else "The judge wrote freely."
    )
    kept = {
        "score": f"Pairs with a score of {config.min_score:g} or more are kept.",
        "expected_score": "Pairs are kept by the mean score under the judge's own probabilities, "
        f"{config.min_score:g} or more, not by the score that was written.",
    }[config.keep_by]
    room = (
        f" At most {100 * config.keep_share:.0f} % of all pairs are kept, the best first."
        if config.keep_share
        else ""
    )
    return f"{parsed} {held} {kept}{room}"
