"""Answers of the routes that TGI shares with OpenAI's API, whole and in chunks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hub_tools.endpoints.server.jobs import Answered, Generated, Token
from hub_tools.endpoints.server.tools import ToolCall


@dataclass(frozen=True)
class OpenAIAnswers:
    """Writes for one model (the base or an adapter); the fingerprint says which server made the answers."""

    model: str
    fingerprint: str

    def chat(self, answered: Answered, call: ToolCall | None) -> dict[str, Any]:
        """A whole chat answer: its text, or the call of a tool."""
        message: dict[str, Any] = {"role": "assistant"}
        if call is None:
            message["content"] = answered.best.text
        else:
            message["tool_calls"] = [_tool_call(call)]
        logprobs = _logprobs(answered.best) if answered.request.logprobs else None
        choice = {"message": message, "logprobs": logprobs, "finish_reason": finish_reason(answered.best)}
        return {**self._frame("chat.completion"), "choices": [{"index": 0, **choice}], **usage([answered])}

    def chat_chunk(
        self, delta: dict[str, Any], logprobs: dict[str, Any] | None = None, finish: str | None = None
    ) -> dict[str, Any]:
        """A part of a chat answer; the last one has the reason why it ends."""
        choice = {
            "index": 0,
            "delta": {"role": "assistant", **delta},
            "logprobs": logprobs,
            "finish_reason": finish,
        }
        return {**self._frame("chat.completion.chunk"), "choices": [choice], "usage": None}

    def chat_usage(self, answered: Answered) -> dict[str, Any]:
        """The chunk behind the last, for whoever asked for it."""
        return {**self._frame("chat.completion.chunk"), "choices": [], **usage([answered])}

    def completion(self, answers: Sequence[Answered]) -> dict[str, Any]:
        """A whole completion, one choice for each prompt."""
        choices = [
            _completion_choice(index, answered.best.text, finish_reason(answered.best))
            for index, answered in enumerate(answers)
        ]
        return {**self._frame("text_completion"), "choices": choices, **usage(answers)}

    def completion_chunk(self, index: int, text: str, answered: Answered | None = None) -> dict[str, Any]:
        """A part of a completion's choice; the last one counts its tokens."""
        finish = finish_reason(answered.best) if answered else ""
        counted = usage([answered]) if answered else {}
        choices = [_completion_choice(index, text, finish)]
        return {**self._frame("text_completion"), "choices": choices, **counted}

    def _frame(self, kind: str) -> dict[str, Any]:
        return {
            "object": kind,
            "id": "",
            "created": int(time.time()),
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }


def tool_delta(call: ToolCall) -> dict[str, Any]:
    """A tool call as one delta: it is known to be one only when it is whole."""
    return {"tool_calls": [{"index": 0, **_tool_call(call)}]}


def token_logprobs(token: Token, top: Sequence[Token]) -> dict[str, Any]:
    """Log-probabilities of one token, as a chunk has them."""
    return {"content": [_logprob(token, top)]}


def finish_reason(generated: Generated) -> str:
    """`stop` where the model ended by itself; TGI keeps its own `stop_sequence` and `length`."""
    return "stop" if generated.finish_reason == "eos_token" else generated.finish_reason


def usage(answers: Sequence[Answered]) -> dict[str, Any]:
    """Tokens read and written, over all choices."""
    prompt = sum(len(answered.request.prompt) for answered in answers)
    completion = sum(answered.best.generated_tokens for answered in answers)
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {"usage": counts}


def models_answer(names: Sequence[str]) -> dict[str, Any]:
    """Answer of `/v1/models`: the base first, then its adapters."""
    entries = [{"id": name, "object": "model", "created": 0, "owned_by": name} for name in names]
    return {"object": "list", "data": entries}


def _tool_call(call: ToolCall) -> dict[str, Any]:
    function = {"description": None, "name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _completion_choice(index: int, text: str, finish: str) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish}


def _logprobs(generated: Generated) -> dict[str, Any]:
    tops: Sequence[Sequence[Token]] = generated.top_tokens or [()] * len(generated.tokens)
    return {"content": [_logprob(token, top) for token, top in zip(generated.tokens, tops, strict=True)]}


def _logprob(token: Token, top: Sequence[Token]) -> dict[str, Any]:
    rivals = [{"token": rival.text, "logprob": rival.logprob} for rival in top]
    return {"token": token.text, "logprob": token.logprob, "top_logprobs": rivals}
