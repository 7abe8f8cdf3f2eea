"""What goes over the wire to a text-generation endpoint, and what comes back."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol

from hub_tools.encoding import encode
from hub_tools.records import Messages

UNFINISHED = (None, "abort", "error")  # what vLLM and SGLang call an answer that the server broke off
MOST_TOKENS = 2**31 - 1
CERTAIN = 1e-3  # above every log probability, rounding included


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

    def entry(self) -> dict[str, Any]:
        """Return it as the journal keeps it."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


class Reply(NamedTuple):
    """A completion, how many seconds its request waited in the server's queue, and the name of the model that
    wrote it: the last two where the server tells.
    """

    completion: Completion
    queued: float | None
    model: str | None = None


class Request(Protocol):
    """A question that a client can send, and how its answer reads."""

    route: ClassVar[str]

    @property
    def text(self) -> str:
        """All text that the model is to read."""

    @property
    def max_tokens(self) -> int:
        """The room for the answer, in tokens."""

    @property
    def content(self) -> bytes:
        """The JSON body."""

    def read(self, answer: Any, headers: Mapping[str, str]) -> Completion:
        """Read the answer's JSON; raises ValueError, KeyError, IndexError or TypeError if it is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """One `/v1/chat/completions` request; `model` is the served model's id or the name of an adapter."""

    route: ClassVar[str] = "/v1/chat/completions"

    model: str
    messages: Messages
    max_tokens: int
    temperature: float
    top_p: float | None
    seed: int
    stop: Sequence[str] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    content: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "content", encode(self.body()))

    @property
    def text(self) -> str:
        """All text that the model is to read."""
        return "\n".join(message["content"] for message in self.messages)

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
        if self.stop:
            body["stop"] = list(self.stop)
        return body

    def key(self, model_sha: str) -> bytes:
        """Return the journal's key: sha256 over the request and the revision of the model that answers it."""
        return hashlib.sha256(self.content + model_sha.encode()).digest()

    def read(self, answer: Any, headers: Mapping[str, str]) -> Completion:
        """Read an answer in OpenAI's shape, as TGI, vLLM, SGLang and llama.cpp give it."""
        choice, usage = answer["choices"][0], answer["usage"]
        logprobs = (choice.get("logprobs") or {}).get("content") or []
        return Completion(
            text=_text(choice["message"]["content"] or ""),
            finish_reason=_finished(choice["finish_reason"]),
            prompt_tokens=_tokens(usage["prompt_tokens"]),
            completion_tokens=_tokens(usage["completion_tokens"]),
            tokens=[(_text(token["token"]), _rivals(token["top_logprobs"], "token")) for token in logprobs],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """One request of TGI's own `/generate`: plain text, to which the server adds the special tokens.

    `inputs` must not be a rendered chat template that brings its own: TGI would begin it twice.
    """

    route: ClassVar[str] = "/generate"

    inputs: str
    max_tokens: int
    temperature: float
    top_p: float | None
    seed: int
    stop: Sequence[str] = ()
    adapter: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    content: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "content", encode(self.body()))

    @property
    def text(self) -> str:
        """All text that the model is to read."""
        return self.inputs

    def body(self) -> dict[str, Any]:
        """Return the JSON body; values that mean "off" are left out, since TGI refuses some of them."""
        optional = {"top_p": self.top_p, "stop": list(self.stop) or None, "adapter_id": self.adapter}
        parameters = {
            "do_sample": True,
            "details": True,
            "max_new_tokens": self.max_tokens,
            "temperature": self.temperature,
            "seed": self.seed,
            **{name: value for name, value in optional.items() if value is not None},
            **self.extra,
        }
        return {"inputs": self.inputs, "parameters": parameters}

    def read(self, answer: Any, headers: Mapping[str, str]) -> Completion:
        """Read TGI's own answer; the length of the prompt is in a header."""
        details = answer["details"]
        tops = details.get("top_tokens") or []
        return Completion(
            text=_text(answer["generated_text"]),
            finish_reason=_finished(details["finish_reason"]),
            prompt_tokens=_tokens(headers.get("x-prompt-tokens", 0)),
            completion_tokens=_tokens(details["generated_tokens"]),
            tokens=[
                (_text(token["text"]), _rivals(rivals, "text"))
                for token, rivals in zip(details["tokens"], tops, strict=False)
            ],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """What a server says of itself; None where it does not."""

    model_id: str
    model_sha: str | None = None
    kind: str = "openai"
    max_concurrent_requests: int | None = None
    max_input_tokens: int | None = None
    max_total_tokens: int | None = None

    def longest_prompt(self, answer: int) -> int | None:
        """Return how many tokens a prompt may have that leaves room for an answer of so many."""
        limits = [self.max_input_tokens, self.max_total_tokens and self.max_total_tokens - answer]
        return min((limit for limit in limits if limit is not None), default=None)


def tgi_info(answer: Mapping[str, Any]) -> Info:
    """Read TGI's `/info`."""
    return Info(
        model_id=_text(answer["model_id"]),
        model_sha=_text(answer.get("model_sha") or "") or None,
        kind=str(answer.get("router") or "tgi"),
        max_concurrent_requests=_limit(answer.get("max_concurrent_requests")),
        max_input_tokens=_limit(answer.get("max_input_tokens") or answer.get("max_input_length")),
        max_total_tokens=_limit(answer.get("max_total_tokens")),
    )


def openai_info(answer: Mapping[str, Any]) -> Info:
    """Read an OpenAI-style `/v1/models`: the base comes first; vLLM and SGLang tell its longest context."""
    model = answer["data"][0]
    return Info(model_id=_text(model["id"]), max_total_tokens=_limit(model.get("max_model_len")))


def _limit(value: Any) -> int | None:
    """Return a server's limit; None where it names none that can be kept."""
    return value if isinstance(value, int) and value > 0 else None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"the text of the answer is {type(value).__name__}")
    value.encode()  # half a surrogate pair is no text, and cannot be written
    return value


def _finished(reason: Any) -> str:
    if reason in UNFINISHED:
        raise ValueError(f"its finish_reason is {reason}")
    return str(reason)


def _tokens(value: Any) -> int:
    if not 0 <= int(value) <= MOST_TOKENS:
        raise ValueError(f"it has {value} tokens")
    return int(value)


def _rivals(tops: Any, name: str) -> dict[str, float]:
    """Read the log probabilities at one token; TGI writes null for a rival that is impossible."""
    return {_text(top[name]): _finite(top["logprob"]) for top in tops if top["logprob"] is not None}


def _finite(value: Any) -> float:
    if not -math.inf < float(value) < CERTAIN:
        raise ValueError(f"it has the log probability {value}")
    return float(value)
