"""Data views: one (instruction, response) pair as the backward, the forward and the final model read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hub_tools.records import Messages

# The paper's tags tell the two sources apart; the backward prompt also ends with the seed's.
SEED_TAG = "Answer in the style of an AI Assistant."
WEB_TAG = "Answer with knowledge from web search."
EVAL_TAG = "Answer in the style of an AI Assistant, with knowledge from web search if needed."

Render = Callable[..., str]


@dataclass(frozen=True, slots=True)
class Pair:
    """One training example as chat messages; only the completion is trained."""

    id: str
    prompt: Messages
    completion: Messages


def backward_prompt(render: Render, response: str) -> Messages:
    """Ask p(instruction given response): the template `backward` is rendered with `response` and `tag`."""
    return [{"role": "user", "content": render("backward", response=response, tag=SEED_TAG)}]


def backward_pair(render: Render, id: str, instruction: str, response: str) -> Pair:  # noqa: A002
    """Return the pair that trains the backward model: from a response to its instruction."""
    return Pair(id, backward_prompt(render, response), _answer(instruction))


def forward_prompt(instruction: str, tag: str) -> Messages:
    """Ask p(response given instruction): the source tag follows the instruction."""
    return [{"role": "user", "content": f"{instruction}\n\n{tag}"}]


def forward_pair(id: str, instruction: str, response: str, tag: str) -> Pair:  # noqa: A002
    """Return the pair that trains the forward or the final model: from an instruction to its response."""
    return Pair(id, forward_prompt(instruction, tag), _answer(response))


def _answer(text: str) -> Messages:
    return [{"role": "assistant", "content": text}]
