"""From a request's text to token ids. A tokenizer is not for several threads: one thread does all of it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from hub_tools.endpoints.server.errors import TemplateError, ValidationError
from hub_tools.endpoints.server.openai_schema import ChatMessage, Tool
from hub_tools.endpoints.server.text import TextStream
from hub_tools.endpoints.server.tools import instructions

_ROLE = re.compile(r"[A-Za-z_]{1,32}")


def encode_text(tokenizer: Any, text: str, truncate: int | None) -> tuple[int, ...]:
    """Token ids of a plain prompt, with the tokenizer's own start token; `truncate` keeps the last ones."""
    ids = tokenizer(text, truncation=False, verbose=False)["input_ids"]
    return tuple(ids[-truncate:] if truncate else ids)


def encode_chat(
    tokenizer: Any,
    messages: Sequence[ChatMessage],
    tools: Sequence[Tool] = (),
    tool_prompt: str | None = None,
) -> tuple[int, ...]:
    """Token ids of a chat in the tokenizer's own template, ready for the assistant's turn.

    Control tokens written out in a message are encoded as ordinary text; only the template's own count.
    """
    if not tokenizer.chat_template:
        raise TemplateError("the model's tokenizer has no chat template; use /generate")
    if not messages:
        raise TemplateError("`messages` is empty")
    turns = [{"role": _role(message), "content": _text(message)} for message in messages]
    described = None
    if tools and "tools" in str(tokenizer.chat_template):
        described = [tool.model_dump(exclude_none=True) for tool in tools]
    elif tools:
        turns[-1]["content"] += instructions(tools, tool_prompt)
    try:
        ids = tokenizer.apply_chat_template(
            turns,
            tools=described,
            add_generation_prompt=True,
            sanitize_control_tokens=True,
            return_dict=False,
        )
    except Exception as error:  # a template may raise anything: jinja's errors, or what it calls raises
        raise TemplateError(str(error).strip() or type(error).__name__) from error
    return tuple(ids)


def chat_tokens(tokenizer: Any, ids: Sequence[int]) -> dict[str, Any]:
    """A chat's text after its template, and its tokens with the characters they span (`/chat_tokenize`)."""
    stream, text, tokens = TextStream(tokenizer, ()), "", []
    for number in ids:
        piece = stream.push(number, skip_special=False)
        tokens.append({"id": number, "text": piece, "start": len(text), "stop": len(text) + len(piece)})
        text += piece
    return {"tokenize_response": tokens, "templated_text": text}


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
    if message.content is None:
        # An assistant's earlier calls stand in the conversation as what they are: JSON.
        return json.dumps(message.tool_calls, ensure_ascii=False) if message.tool_calls else ""
    if isinstance(message.content, str):
        return message.content
    for chunk in message.content:
        if chunk.type != "text" or chunk.text is None:
            raise ValidationError(f"{chunk.type} modality is not supported")
    return "".join(chunk.text or "" for chunk in message.content)
