"""Turns token ids into text as they come, and finds the stop sequences in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_UNFINISHED = "\ufffd"  # what a decoder writes for bytes that are not yet a whole character
_CONTEXT = 5


class TextStream:
    """Decodes an answer piece by piece; together the pieces are its text up to an unfinished character."""

    def __init__(self, tokenizer: Any, prompt: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        # Some tokenizers decode the very first token otherwise, so a little of the prompt goes before.
        self._ids = list(prompt[-_CONTEXT:])
        self._start = 0
        self._read = len(self._ids)

    def push(self, token: int, *, skip_special: bool) -> str:
        """The text that this token completes, or "" while a character is unfinished."""
        self._ids.append(token)
        before = self._decode(self._ids[self._start : self._read], skip_special)
        after = self._decode(self._ids[self._start :], skip_special)
        if len(after) <= len(before) or after.endswith(_UNFINISHED):
            return ""
        self._start, self._read = self._read, len(self._ids)
        return after[len(before) :]

    def _decode(self, ids: list[int], skip_special: bool) -> str:
        text: str = self._tokenizer.decode(
            ids, skip_special_tokens=skip_special, clean_up_tokenization_spaces=False
        )
        return text


def decode_answer(tokenizer: Any, prompt: Sequence[int], answer: Sequence[int]) -> str:
    """The whole answer's text without special tokens."""
    context = list(prompt[-_CONTEXT:])
    options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
    before: str = tokenizer.decode(context, **options)
    whole: str = tokenizer.decode([*context, *answer], **options)
    return (
        whole[len(before) :] if whole.startswith(before) else str(tokenizer.decode(list(answer), **options))
    )


class StopSearch:
    """Watches the end of a growing text for any of a few sequences."""

    def __init__(self, sequences: Sequence[str]) -> None:
        self._sequences = [sequence for sequence in sequences if sequence]
        self._longest = max(map(len, self._sequences), default=0)
        self._tail = ""

    def found_in(self, piece: str) -> int | None:
        """How many characters of `piece` lie behind the first stop sequence, or None without one."""
        text = self._tail + piece
        ends = [at + len(stop) for stop in self._sequences if (at := text.find(stop)) >= 0]
        self._tail = text[-self._longest :] if self._longest else ""
        return len(text) - min(ends) if ends else None
