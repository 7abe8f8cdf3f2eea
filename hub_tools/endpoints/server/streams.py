"""Turns the steps of an answer into the events of TGI's three streams."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from hub_tools.endpoints.server import answers
from hub_tools.endpoints.server.errors import IncompleteError, RequestError
from hub_tools.endpoints.server.events import DONE, Events
from hub_tools.endpoints.server.jobs import Answered, Request, Step
from hub_tools.endpoints.server.openai_answers import OpenAIAnswers, finish_reason, token_logprobs, tool_delta
from hub_tools.endpoints.server.schema import GenerateBody
from hub_tools.endpoints.server.tools import ToolCall

logger = logging.getLogger(__name__)

Steps = AsyncGenerator[Request | Step | Answered]


async def generate_events(body: GenerateBody, steps: Steps) -> Events:
    """`/generate_stream`: one event a token, the last with the whole text; an error is an event too."""
    wanted, index = body.parameters, 0
    try:
        async with aclosing(steps):
            async for item in steps:
                if isinstance(item, Step):
                    index += 1
                    yield answers.stream_step(index, item)
                elif isinstance(item, Answered):
                    full = bool(wanted.return_full_text)
                    yield answers.stream_end(index + 1, body.inputs, item, full=full, details=wanted.details)
    except Exception as error:
        known = _known(error)
        yield {"error": str(known), "error_type": known.error_type}


async def chat_events(writer: OpenAIAnswers, steps: Steps, *, logprobs: bool, count: bool) -> Events:
    """Chunks of `/v1/chat/completions`; with `count` one more with the tokens' numbers."""
    pieces = Pieces()
    try:
        async with aclosing(steps):
            async for item in steps:
                if isinstance(item, Step):
                    yield writer.chat_chunk({"content": pieces.of(item)}, _logprobs(item, logprobs))
                elif isinstance(item, Answered):
                    delta = {"content": pieces.rest(item)}
                    noted = _logprobs(item.best.last, logprobs)
                    yield writer.chat_chunk(delta, noted, finish_reason(item.best))
                    if count:
                        yield writer.chat_usage(item)
    except Exception as error:
        yield _openai_error(error)
    yield DONE


async def call_events(writer: OpenAIAnswers, answered: Answered, call: ToolCall, *, count: bool) -> Events:
    """Chunks of a chat that ends in the call of a tool."""
    yield writer.chat_chunk(tool_delta(call), finish=finish_reason(answered.best))
    if count:
        yield writer.chat_usage(answered)
    yield DONE


async def completion_events(writer: OpenAIAnswers, streams: Sequence[Steps]) -> Events:
    """Chunks of `/v1/completions`, every prompt's as they come."""
    merged: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    async def follow(index: int, steps: Steps) -> None:
        pieces = Pieces()
        try:
            async with aclosing(steps):
                async for item in steps:
                    if isinstance(item, Step):
                        merged.put_nowait(writer.completion_chunk(index, pieces.of(item)))
                    elif isinstance(item, Answered):
                        merged.put_nowait(writer.completion_chunk(index, pieces.rest(item), item))
        except Exception as error:
            merged.put_nowait(_openai_error(error))
        merged.put_nowait(None)

    tasks = [asyncio.ensure_future(follow(index, steps)) for index, steps in enumerate(streams)]
    try:
        for _ in tasks:
            while (event := await merged.get()) is not None:
                yield event
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    yield DONE


class Pieces:
    """What each token adds to the answer's text; together the pieces are exactly that text."""

    def __init__(self) -> None:
        self._sent = ""

    def of(self, step: Step) -> str:
        """The piece of one token; a special token has none."""
        piece = "" if step.token.special else step.token.text
        self._sent += piece
        return piece

    def rest(self, answered: Answered) -> str:
        """The piece of the last token."""
        whole = answered.best.text
        return whole[len(self._sent) :] if whole.startswith(self._sent) else ""


def _logprobs(step: Step | None, wanted: bool) -> dict[str, Any] | None:
    return token_logprobs(step.token, step.top) if wanted and step is not None else None


def _openai_error(error: Exception) -> dict[str, Any]:
    known = _known(error)
    return {"error": {"message": str(known), "http_status_code": known.status}}


def _known(error: Exception) -> RequestError:
    if isinstance(error, RequestError):
        return error
    logger.error("a stream failed", exc_info=error)
    return IncompleteError()
