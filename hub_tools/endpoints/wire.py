"""What goes over the wire to a text-generation endpoint, and what comes back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hub_tools.records import Messages


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """One `/v1/chat/completions` request; `model` is the served model's id or the name of an adapter."""

    model: str
    messages: Messages
    max_tokens: int
    temperature: float
    top_p: float | None
    seed: int
    extra: Mapping[str, Any] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """Return the JSON body; values that mean "off" are left out, since servers refuse some of them."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": self.messages,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "seed": self.seed,
            **self.extra,
        }
        if self.top_p is not None:
            body["top_p"] = self.top_p
        return body

    def key(self, model_sha: str) -> str:
        """Return the journal's key: sha256 over the request and the revision of the model that answers it."""
        content = json.dumps([self.body(), model_sha], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(content.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """An endpoint's answer; `tokens` holds each token with its likeliest rivals' natural-log probabilities,
    if asked for.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    tokens: Sequence[tuple[str, Mapping[str, float]]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """What a server says of itself; None where it does not."""

    model_id: str
    model_sha: str | None
    max_concurrent_requests: int | None
    kind: str


class EndpointError(Exception):
    """A request failed in a way that may pass: another try can succeed."""


class Overloaded(EndpointError):  # noqa: N818  (named after what happened, like TGI's error type)
    """The server has no room now (429); `retry_after` is in seconds, None where the server gives none."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Refused(Exception):  # noqa: N818
    """The server will never take this request (400, 413, 422): the row is at fault."""
