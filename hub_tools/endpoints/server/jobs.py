"""What passes between the web side and the thread that runs the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Literal

from hub_tools.endpoints.server.errors import RequestError

if TYPE_CHECKING:
    from hub_tools.endpoints.server.grammar import CompiledGrammar

FinishReason = Literal["length", "eos_token", "stop_sequence"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen; `do_sample` false is greedy, `top_k` 0 and `top_p` 1 switch those off."""

    do_sample: bool
    seed: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0


@dataclass(frozen=True, slots=True)
class Request:
    """A validated request: token ids in, limits, and what the answer has to carry."""

    prompt: tuple[int, ...]
    max_new_tokens: int
    sampling: Sampling
    adapter: str | None = None
    stop: tuple[str, ...] = ()
    regex: str | None = None
    grammar: CompiledGrammar | None = None  # the compiled `regex`
    logprobs: bool = False
    top_n_tokens: int = 0
    prefill_logprobs: bool = False


@dataclass(frozen=True, slots=True)
class Token:
    """One token with its log-probability: after the grammar's mask, before temperature, top-k and top-p."""

    id: int
    text: str
    logprob: float
    special: bool


@dataclass(frozen=True, slots=True)
class Generated:
    """A finished answer; `tokens`, `top_tokens` and `prefill` are empty unless they were asked for."""

    text: str
    finish_reason: FinishReason
    generated_tokens: int
    tokens: tuple[Token, ...] = ()
    top_tokens: tuple[tuple[Token, ...], ...] = ()
    prefill: tuple[tuple[int, str, float | None], ...] = ()
    queue_seconds: float = 0.0
    inference_seconds: float = 0.0


Done = Callable[[Generated | RequestError], None]


@dataclass(slots=True, eq=False)
class Job:
    """A request on its way through the model thread; `cancelled` may be set from outside at any time."""

    request: Request
    done: Done
    cancelled: bool = False
    arrived: float = field(default_factory=monotonic)
    started: float = 0.0
