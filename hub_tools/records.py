"""The row types that stages hand on.

`id` is stable through the whole graph (see `row_id`), so one training row can be followed back to its web
page.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TypedDict


class Message(TypedDict):
    """One turn of a chat, as TRL, TGI and the Hub's viewers take it."""

    role: str
    content: str


Messages = list[Message]


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """How a text was generated: enough to ask the same question again."""

    model: str
    model_sha: str
    endpoint: str
    temperature: float
    top_p: float | None
    seed: int
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    prompt_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What every row carries from the corpus to the training set."""

    id: str
    source: str
    url: str | None
    license: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed(Row):
    """A human-written pair: the first turn of an Open Assistant tree and its best reply."""

    instruction: str
    response: str
    lang: str
    rank: int
    tree_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Response(Row):
    """A web document that may become a response; `n_tokens` counts the base model's tokens."""

    text: str
    n_tokens: int
    created: str | None
    dump: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtranslated(Row):
    """A web document with the instruction that the backward model wrote for it."""

    instruction: str
    response: str
    generation: Generation


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored(Row):
    """A backtranslated pair and the forward model's verdict on it.

    `score` is 1 to 5, or null where the answer held no valid score; `expected_score` is the mean of 1 to 5
    under the
    judge's own token probabilities at the score, null where the endpoint gives none; `rule` names the parse
    rule.
    """

    instruction: str
    response: str
    score: int | None
    expected_score: float | None
    judgement: str
    rule: str
    generation: Generation


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten(Row):
    """An instruction with a response written by an aligned model; `draft` is the web text."""

    instruction: str
    response: str
    draft: str
    messages: Messages
    generation: Generation


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixed(Row):
    """A training row: chat lists as TRL takes them, the source tag, and the node the pair came from."""

    prompt: Messages
    completion: Messages
    tag: str
    source_node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """An input row that a stage did not pass on, and why; `row` is that input row as JSON."""

    id: str
    reason: str
    detail: str
    row: str


def row_id(source: str, document: str, segment: int = 0) -> str:
    """Return the stable id of a row: 16 hexadecimal digits of sha256 over source, document id and segment."""
    return hashlib.sha256(f"{source}\0{document}\0{segment}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One number of a report: what was measured at a node, in long form, so that reports of many runs can be
    joined.
    """

    id: str
    node: str
    repo: str
    version: str
    measure: str
    value: float
