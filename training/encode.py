"""Chat pairs to token ids and labels, with an account of what was cut or dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from training.cores import on_all_cores
from training.errors import TrainingError
from training.turns import encode_answer, encode_chat, named
from training.views import Pair

IGNORED = -100  # the label of a token that is not trained


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids of one pair, prompt first; `labels` repeats the completion's ids and is -100 elsewhere."""

    id: str
    input_ids: list[int]
    labels: list[int]
    truncated: bool


@dataclass(frozen=True, slots=True)
class Encoded:
    """The pairs that can be trained on, and those that cannot, as (id, reason)."""

    examples: list[Example]
    dropped: list[tuple[str, str]]

    @property
    def truncated(self) -> int:
        """Number of examples whose completion was cut at the longest length."""
        return sum(example.truncated for example in self.examples)


def encode_pairs(tokenizer: Any, pairs: Sequence[Pair], max_length: int) -> Encoded:
    """Encode every pair with the tokenizer's chat template, at most `max_length` tokens each.

    Raises TrainingError for a tokenizer, a template or a pair that makes no chat to train on.
    """
    if not tokenizer.chat_template:
        raise TrainingError(
            "the base model has no chat template; set chat_template in the training's settings"
        )
    if tokenizer.eos_token_id is None:
        raise TrainingError("the base's tokenizer has no end-of-sequence token, so no answer would ever end")

    def outcome(pair: Pair) -> Example | str:
        if not "".join(message["content"] for message in pair.completion).strip():
            return "empty_completion"
        return encode_pair(tokenizer, pair, max_length) or "prompt_too_long"

    outcomes = on_all_cores(outcome, pairs)
    examples = [found for found in outcomes if isinstance(found, Example)]
    dropped = [
        (pair.id, found) for pair, found in zip(pairs, outcomes, strict=True) if isinstance(found, str)
    ]
    return Encoded(examples, dropped)


def encode_prompt(tokenizer: Any, pair: Pair) -> list[int]:
    """Encode a pair's prompt alone, ready for the assistant's answer."""
    with named(pair.id):
        return encode_chat(tokenizer, pair.prompt, add_generation_prompt=True)


def encode_pair(tokenizer: Any, pair: Pair, max_length: int) -> Example | None:
    """Encode one pair; None where the prompt alone fills `max_length`.

    The prompt's tokens are those that an endpoint sends. The last label is the end-of-sequence token, so that
    the model learns to stop, unless the pair was cut.
    """
    prompt = encode_prompt(tokenizer, pair)
    with named(pair.id):
        whole = prompt + encode_answer(tokenizer, pair.prompt, pair.completion, prompt)
    ids = whole[:max_length]
    if len(ids) <= len(prompt):
        return None
    labels = [IGNORED] * len(prompt) + ids[len(prompt) :]
    return Example(pair.id, ids, labels, truncated=len(ids) < len(whole))
