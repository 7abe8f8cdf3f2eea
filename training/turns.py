"""What a chat template makes of one question and its answer, in tokens that a model can be served with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from hub_tools.records import Messages
from training.errors import TrainingError, one_line

PROBE = "backforth-probe"  # stands for an answer, to see what a template writes around it


@dataclass(frozen=True, slots=True)
class Frame:
    """What a template writes before an answer and after it; `joined` if that is the prompt and blanks."""

    before: str
    after: str
    joined: bool


@contextmanager
def named(pair_id: str) -> Iterator[None]:
    """Say which pair a template refuses: it may raise whatever it likes."""
    try:
        yield
    except TrainingError:
        raise
    except Exception as error:
        raise TrainingError(
            f"the chat template does not take the pair {pair_id}: {one_line(error)}"
        ) from error


def encode_chat(tokenizer: Any, messages: Messages, *, add_generation_prompt: bool) -> list[int]:
    """Encode as the endpoint does: control tokens written out in a message are ordinary text."""
    ids: list[int] = tokenizer.apply_chat_template(
        messages,
        add_generation_prompt=add_generation_prompt,
        sanitize_control_tokens=True,
        return_dict=False,
    )
    return ids


def encode_answer(tokenizer: Any, question: Messages, answer: Messages, prompt: list[int]) -> list[int]:
    """Return the tokens that follow the tokens of a prompt: the answer, to the end-of-sequence token.

    Some templates write more before an answer than at the end of a prompt, such as an empty thought. A served
    model would have to write it out, so it is left away.
    """
    frame = _frame(tokenizer, question, answer)
    ids = _joined(tokenizer, question + answer, prompt) if frame.joined else None
    if ids is None:
        text = tokenizer.apply_chat_template(question + answer, tokenize=False)
        text = _between(frame, text, answer[0]["content"])
        ids = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        ids += tokenizer.encode(frame.after, add_special_tokens=False)
    return _end_at_eos(ids, tokenizer.eos_token_id)


def _frame(tokenizer: Any, question: Messages, answer: Messages) -> Frame:
    if [message["role"] for message in answer] != ["assistant"]:
        raise TrainingError("a completion is one message of the assistant")
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, tokenize=False)
    probe = [*question, {**answer[0], "content": PROBE}]
    before, found, after = tokenizer.apply_chat_template(probe, tokenize=False).rpartition(PROBE)
    if not found:
        raise TrainingError("the chat template leaves the assistant's answer out")
    return Frame(before, after, before.startswith(prompt) and not before[len(prompt) :].strip())


def _between(frame: Frame, text: str, otherwise: str) -> str:
    """Return the answer as the template writes it, stripped perhaps."""
    if text.startswith(frame.before) and text.endswith(frame.after):
        return text[len(frame.before) : len(text) - len(frame.after)]
    return otherwise


def _joined(tokenizer: Any, messages: Messages, prompt: list[int]) -> list[int] | None:
    """Return what follows the prompt's tokens in the whole chat's; None where they cannot be told apart."""
    whole = encode_chat(tokenizer, messages, add_generation_prompt=False)
    start = sum(1 for _ in takewhile(lambda both: both[0] == both[1], zip(prompt, whole, strict=False)))
    overhang = "".join(tokenizer.convert_ids_to_tokens(prompt[start:]))
    written, end = "", start
    while len(written) < len(overhang) and end < len(whole):
        written += tokenizer.convert_ids_to_tokens(whole[end])
        end += 1
    if not written.startswith(overhang):
        return None
    # A token of the whole spans the place where the prompt ends, such as a space and the first word.
    spanned = tokenizer.backend_tokenizer.model.tokenize(written[len(overhang) :])
    return [*(token.id for token in spanned), *whole[end:]]


def _end_at_eos(completion: list[int], eos: int) -> list[int]:
    """Drop what a template writes after the end-of-sequence token (never generated), or add the token."""
    if eos not in completion:
        return [*completion, eos]
    return completion[: len(completion) - completion[::-1].index(eos)]
