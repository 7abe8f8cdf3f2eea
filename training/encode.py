"""Chat pairs to token ids and labels, with an account of what was cut or dropped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from training.errors import TrainingError
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


def encode_pairs(tokenizer: Any, pairs: Iterable[Pair], max_length: int) -> Encoded:
    """Encode every pair with the tokenizer's chat template, at most `max_length` tokens each."""
    if not tokenizer.chat_template:
        raise TrainingError(
            "the base model has no chat template; set chat_template in the training's settings"
        )
    examples, dropped = [], []
    for pair in pairs:
        if not "".join(message["content"] for message in pair.completion).strip():
            dropped.append((pair.id, "empty_completion"))
        elif example := encode_pair(tokenizer, pair, max_length):
            examples.append(example)
        else:
            dropped.append((pair.id, "prompt_too_long"))
    return Encoded(examples, dropped)


def encode_prompt(tokenizer: Any, pair: Pair) -> list[int]:
    """Encode a pair's prompt alone, ready for the assistant's answer."""
    return _apply(tokenizer, pair.prompt, add_generation_prompt=True)


def encode_pair(tokenizer: Any, pair: Pair, max_length: int) -> Example | None:
    """Encode one pair; None where the prompt alone fills `max_length`.

    The prompt's tokens are those that an endpoint sends. The last label is the end-of-sequence token, so that
    the model learns to stop, unless the pair was cut.
    """
    prompt = encode_prompt(tokenizer, pair)
    whole = prompt + _completion(tokenizer, pair, prompt)
    ids = whole[:max_length]
    if len(ids) <= len(prompt):
        return None
    labels = [IGNORED] * len(prompt) + ids[len(prompt) :]
    return Example(pair.id, ids, labels, truncated=len(ids) < len(whole))


def _completion(tokenizer: Any, pair: Pair, prompt: list[int]) -> list[int]:
    """Return what follows the prompt, to the end-of-sequence token."""
    whole = _apply(tokenizer, pair.prompt + pair.completion, add_generation_prompt=False)
    start = sum(1 for _ in takewhile(lambda both: both[0] == both[1], zip(prompt, whole, strict=False)))
    rest = _end_at_eos(whole[start:], tokenizer.eos_token_id)
    overhang, text = tokenizer.decode(prompt[start:]), tokenizer.decode(rest[:-1])
    if not overhang or not text.startswith(overhang):
        return rest
    # A token of the whole spans the place where the prompt ends, such as a space and the first word.
    after = tokenizer.encode(text[len(overhang) :], add_special_tokens=False, split_special_tokens=True)
    return [*after, rest[-1]]


def _apply(tokenizer: Any, messages: Any, *, add_generation_prompt: bool) -> list[int]:
    """Encode as the endpoint does: control tokens written out in a message are ordinary text."""
    ids: list[int] = tokenizer.apply_chat_template(
        messages,
        add_generation_prompt=add_generation_prompt,
        sanitize_control_tokens=True,
        return_dict=False,
    )
    return ids


def _end_at_eos(completion: list[int], eos: int) -> list[int]:
    """Drop what a template writes after the end-of-sequence token (never generated), or add the token."""
    if eos not in completion:
        return [*completion, eos]
    return completion[: len(completion) - completion[::-1].index(eos)]
