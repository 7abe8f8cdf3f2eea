"""From a request's text to token ids. A tokenizer is not for several threads: one thread does all of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from hub_tools.endpoints.server.errors import TemplateError, ValidationError
from hub_tools.endpoints.server.schema import ChatMessage

_ROLE = re.compile(r"[A-Za-z_]{1,32}")


def encode_text(tokenizer: Any, text: str, truncate: int | None) -> tuple[int, ...]:
    """Token ids of a plain prompt, with the tokenizer's own start token; `truncate` keeps the last ones."""
    ids = tokenizer(text, truncation=False, verbose=False)["input_ids"]
    return tuple(ids[-truncate:] if truncate else ids)


def encode_chat(tokenizer: Any, messages: Sequence[ChatMessage]) -> tuple[int, ...]:
    """Token ids of a chat in the tokenizer's own template, ready for the assistant's turn.

    Control tokens written out in a message are encoded as ordinary text; only the template's own count.
    """
    if not tokenizer.chat_template:
        raise TemplateError("the model's tokenizer has no chat template; use /generate")
    if not messages:
        raise TemplateError("`messages` is empty")
    turns = [{"role": _role(message), "content": _text(message)} for message in messages]
    try:
        ids = tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, sanitize_control_tokens=True, return_dict=False
        )
    except Exception as error:  # a template may raise anything: jinja's errors, or what it calls raises
        raise TemplateError(str(error).strip() or type(error).__name__) from error
    return tuple(ids)


def text_tokens(tokenizer: Any, text: str) -> list[dict[str, Any]]:
    """The tokens of a text with the characters they span, as `/tokenize` answers."""
    encoded = tokenizer(text, return_offsets_mapping=True, truncation=False, verbose=False)
    pairs = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    return [{"id": i, "text": text[start:stop], "start": start, "stop": stop} for i, (start, stop) in pairs]


def _role(message: ChatMessage) -> str:
    if not _ROLE.fullmatch(message.role):
        raise TemplateError("a message's role may only have letters and underscores")
    return message.role


def _text(message: ChatMessage) -> str:
    if isinstance(message.content, str):
        return message.content
    for chunk in message.content:
        if chunk.type != "text" or chunk.text is None:
            raise ValidationError(f"{chunk.type} modality is not supported")
    return "".join(chunk.text or "" for chunk in message.content)
