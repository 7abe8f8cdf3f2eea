"""What passes between the web side and the thread that runs the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Literal

from hub_tools.endpoints.server.errors import RequestError

if TYPE_CHECKING:
    from hub_tools.endpoints.server.grammar import CompiledGrammar, GrammarSource

FinishReason = Literal["length", "eos_token", "stop_sequence"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen; `do_sample` false is greedy, and every default below changes nothing."""

    do_sample: bool
    seed: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    watermark: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """A validated request: token ids in, limits, and what the answer has to carry.

    `characters` is the length of the text it came from; `best_of` answers are made, and the likeliest wins.
    """

    prompt: tuple[int, ...]
    max_new_tokens: int
    sampling: Sampling
    characters: int = 0
    adapter: str | None = None
    stop: tuple[str, ...] = ()
    source: GrammarSource | None = None
    grammar: CompiledGrammar | None = None  # the compiled `source`
    best_of: int = 1
    logprobs: bool = False
    top_n_tokens: int = 0
    prefill_logprobs: bool = False


@dataclass(frozen=True, slots=True)
class Token:
    """One token with its log-probability: after the grammar's mask, before temperature, top-k and top-p.

    The log-probability is None where nobody asked for it.
    """

    id: int
    text: str
    logprob: float | None
    special: bool


@dataclass(frozen=True, slots=True)
class Step:
    """One token of an answer with its likeliest rivals, as a stream hands it on."""

    token: Token
    top: tuple[Token, ...] = ()


@dataclass(frozen=True, slots=True)
class Generated:
    """A finished answer; `tokens`, `top_tokens` and `prefill` are empty unless they were asked for.

    `last` is the final step of a stream, None elsewhere; `seed` is None for a greedy answer.
    """

    text: str
    finish_reason: FinishReason
    generated_tokens: int
    seed: int | None = None
    last: Step | None = None
    tokens: tuple[Token, ...] = ()
    top_tokens: tuple[tuple[Token, ...], ...] = ()
    prefill: tuple[tuple[int, str, float | None], ...] = ()
    queue_seconds: float = 0.0
    inference_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Answered:
    """A request with its best answer, the others where several were made, and the time before its queue."""

    request: Request
    best: Generated
    others: Sequence[Generated]
    validation_seconds: float

    @property
    def total_seconds(self) -> float:
        """From its arrival to its answer."""
        return self.validation_seconds + self.best.queue_seconds + self.best.inference_seconds


Done = Callable[[Generated | RequestError], None]


@dataclass(slots=True, eq=False)
class Job:
    """A request on its way through the model thread; `cancelled` may be set from outside at any time.

    `step` hears of every token but the last, which comes with the answer to `done`.
    """

    request: Request
    done: Done
    step: Callable[[Step], None] | None = None
    cancelled: bool = False
    arrived: float = field(default_factory=monotonic)
    started: float = 0.0
