"""What a request's parameters mean: TGI's rules, its sentences for what it refuses, and its defaults."""

from __future__ import annotations

import secrets

from hub_tools.endpoints.server.errors import ValidationError
from hub_tools.endpoints.server.jobs import Sampling
from hub_tools.endpoints.server.openai_schema import ChatBody, CompletionBody
from hub_tools.endpoints.server.schema import GenerateBody, Parameters

MAX_BEST_OF = 2
MAX_STOP_SEQUENCES = 4
MAX_TOP_N_TOKENS = 5
_COMPLETION_LENGTH = 100
_COLDEST = 1e-6  # colder than this no random number makes a difference


def chat_parameters(body: ChatBody) -> Parameters:
    """The parameters that TGI gives a chat: it samples unless the temperature is 0.

    TGI reads a presence penalty of x as a repetition penalty of x + 2, also where x is 0; so do we.
    """
    _refuse(n=body.n not in {None, 1}, logit_bias=body.logit_bias)
    penalty = body.repetition_penalty if body.presence_penalty is None else body.presence_penalty + 2.0
    return Parameters(
        adapter_id=body.model,
        temperature=body.temperature or None,
        do_sample=body.temperature != 0.0,
        repetition_penalty=penalty,
        frequency_penalty=body.frequency_penalty,
        top_p=body.top_p,
        max_new_tokens=body.max_tokens,
        stop=body.stop or (),
        details=bool(body.logprobs),
        seed=body.seed,
        top_n_tokens=body.top_logprobs if body.logprobs else None,
        grammar=body.response_format,
    )


def completion_bodies(body: CompletionBody) -> list[GenerateBody]:
    """One request for each prompt of `/v1/completions`, with TGI's defaults there."""
    _refuse(
        n=body.n not in {None, 1},
        best_of=body.best_of not in {None, 1},
        echo=body.echo,
        logprobs=body.logprobs,
    )
    parameters = Parameters(
        adapter_id=body.model,
        temperature=body.temperature or None,
        do_sample=body.temperature != 0.0,
        repetition_penalty=body.repetition_penalty,
        frequency_penalty=body.frequency_penalty,
        top_p=body.top_p,
        max_new_tokens=_COMPLETION_LENGTH if body.max_tokens is None else body.max_tokens,
        stop=body.stop or (),
        seed=body.seed,
    )
    return [GenerateBody(inputs=prompt, parameters=parameters) for prompt in body.prompt]


def check_parameters(parameters: Parameters) -> None:
    """Raise `ValidationError` with TGI's sentence for a value it does not take either."""
    p = parameters
    best_of = 1 if p.best_of is None else p.best_of
    rules = (
        (p.temperature is None or p.temperature > 0, "`temperature` must be strictly positive"),
        (
            p.repetition_penalty is None or p.repetition_penalty > 0,
            "`repetition_penalty` must be strictly positive",
        ),
        (
            p.frequency_penalty is None or -2 <= p.frequency_penalty <= 2,
            "`frequency_penalty` must be >= -2.0 and <= 2.0",
        ),
        (p.top_p is None or 0 < p.top_p < 1, "`top_p` must be > 0.0 and < 1.0"),
        (p.typical_p is None or 0 < p.typical_p < 1, "`typical_p` must be > 0.0 and < 1.0"),
        (p.top_k is None or p.top_k > 0, "`top_k` must be strictly positive"),
        (p.max_new_tokens != 0, "`max_new_tokens` must be strictly positive"),
        (
            len(p.stop) <= MAX_STOP_SEQUENCES,
            f"`stop` supports up to {MAX_STOP_SEQUENCES} stop sequences. Given: {len(p.stop)}",
        ),
        (
            (p.top_n_tokens or 0) <= MAX_TOP_N_TOKENS,
            f"`top_n_tokens` must be >= 0 and <= {MAX_TOP_N_TOKENS}. Given: {p.top_n_tokens}",
        ),
        (0 < best_of <= MAX_BEST_OF, f"`best_of` must be > 0 and <= {MAX_BEST_OF}. Given: {best_of}"),
        (best_of == 1 or asks_to_sample(p), "you must use sampling when `best_of` is > 1"),
        (best_of == 1 or p.seed is None, "`seed` must not be set when `best_of` > 1"),
    )
    for holds, sentence in rules:
        if not holds:
            raise ValidationError(sentence)


def asks_to_sample(parameters: Parameters) -> bool:
    """Whether TGI takes a request for one that samples, be it by a temperature of 1 alone."""
    p = parameters
    settings = (p.temperature, p.top_k, p.top_p, p.typical_p)
    return p.do_sample or any(setting is not None for setting in settings)


def samples(parameters: Parameters) -> bool:
    """Whether tokens are drawn: like in TGI, any warper that does something asks for that."""
    p = parameters
    warped = p.temperature not in {None, 1.0} or p.top_k is not None
    return p.do_sample or warped or p.top_p is not None or p.typical_p is not None


def sampling(parameters: Parameters) -> Sampling:
    """How to choose tokens, with a seed of its own for a request without one."""
    p = parameters
    return Sampling(
        do_sample=samples(p),
        seed=p.seed if p.seed is not None else new_seed(),
        temperature=max(p.temperature or 1.0, _COLDEST),
        top_k=p.top_k or 0,
        top_p=p.top_p or 1.0,
        typical_p=p.typical_p or 1.0,
        repetition_penalty=p.repetition_penalty or 1.0,
        frequency_penalty=p.frequency_penalty or 0.0,
        watermark=p.watermark,
    )


def new_seed() -> int:
    """A seed that nobody asked for."""
    return secrets.randbits(64)


def _refuse(**asked: object) -> None:
    for name, value in asked.items():
        if value:
            raise ValidationError(f"`{name}` is not supported by this endpoint")
