"""Checks a request against TGI's rules and this server's limits, and makes it ready for the model."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from hub_tools.endpoints.server.errors import ValidationError
from hub_tools.endpoints.server.grammar import regex_of
from hub_tools.endpoints.server.jobs import Request, Sampling
from hub_tools.endpoints.server.prompts import encode_chat, encode_text
from hub_tools.endpoints.server.schema import ChatBody, GenerateBody, Parameters

MAX_STOP_SEQUENCES = 4
MAX_TOP_N_TOKENS = 5
MAX_PREFILL_DETAILS = 2048  # the whole vocabulary's logits are held for each of them
# TGI lets an answer without a stated length run to the end of the context, but reserves only this much.
_UNSTATED_LENGTH = 1024


@dataclass(frozen=True)
class Validator:
    """Turns bodies into requests; needs the tokenizer, so it belongs to one thread."""

    tokenizer: Any
    base_names: Collection[str]
    adapters: Collection[str]
    max_total_tokens: int

    def generate(self, body: GenerateBody) -> Request:
        """A request of `/generate`; raises `ValidationError`."""
        if not body.inputs:
            raise ValidationError("`inputs` cannot be empty")
        truncate = body.parameters.truncate
        if truncate is not None and not 0 < truncate < self.max_total_tokens:
            limit = self.max_total_tokens - 1
            raise ValidationError(
                f"`truncate` must be strictly positive and less than {limit}. Given: {truncate}"
            )
        check_parameters(body.parameters)
        prompt = encode_text(self.tokenizer, body.inputs, truncate)
        if body.parameters.decoder_input_details and len(prompt) > MAX_PREFILL_DETAILS:
            raise ValidationError(
                f"`decoder_input_details` takes up to {MAX_PREFILL_DETAILS} `inputs` tokens"
            )
        return self._request(prompt, body.parameters)

    def chat(self, body: ChatBody) -> Request:
        """A request of `/v1/chat/completions`; raises `ValidationError` or `TemplateError`."""
        parameters = chat_parameters(body)
        check_parameters(parameters)
        return self._request(encode_chat(self.tokenizer, body.messages), parameters)

    def _request(self, prompt: tuple[int, ...], parameters: Parameters) -> Request:
        if not prompt:
            raise ValidationError("`inputs` cannot be empty")
        return Request(
            prompt=prompt,
            max_new_tokens=self._answer_length(len(prompt), parameters.max_new_tokens),
            sampling=sampling(parameters),
            adapter=self._adapter(parameters.adapter_id),
            stop=parameters.stop,
            regex=regex_of(parameters.grammar),
            logprobs=parameters.details,
            top_n_tokens=parameters.top_n_tokens or 0,
            prefill_logprobs=parameters.decoder_input_details,
        )

    def _adapter(self, name: str | None) -> str | None:
        if not name or name in self.base_names:
            return None
        if name not in self.adapters:
            known = ", ".join(self.adapters) or "none"
            raise ValidationError(f"adapter {name!r} is not loaded; the base model's adapters: {known}")
        return name

    def _answer_length(self, prompt: int, asked: int | None) -> int:
        room = self.max_total_tokens - prompt
        needed = min(max(room, 1), _UNSTATED_LENGTH) if asked is None else asked
        if needed > room:
            raise ValidationError(
                f"`inputs` tokens + `max_new_tokens` must be <= {self.max_total_tokens}. "
                f"Given: {prompt} `inputs` tokens and {needed} `max_new_tokens`"
            )
        return room if asked is None else asked


def chat_parameters(body: ChatBody) -> Parameters:
    """The parameters that TGI gives a chat: it samples unless the temperature is 0."""
    for name, unsupported in (
        ("stream", body.stream),
        ("tools", body.tools),
        ("presence_penalty", body.presence_penalty),
        ("n", body.n not in {None, 1}),
    ):
        if unsupported:
            raise ValidationError(f"`{name}` is not supported by this endpoint")
    return Parameters(
        adapter_id=body.model,
        temperature=body.temperature or None,
        do_sample=body.temperature != 0.0,
        frequency_penalty=body.frequency_penalty,
        top_p=body.top_p,
        max_new_tokens=body.max_tokens,
        stop=body.stop or (),
        details=bool(body.logprobs),
        seed=body.seed,
        top_n_tokens=body.top_logprobs if body.logprobs else None,
        grammar=body.response_format,
    )


def check_parameters(parameters: Parameters) -> None:
    """Raise `ValidationError` with TGI's sentence for a value it does not take either."""
    p = parameters
    rules = (
        (p.temperature is None or p.temperature > 0, "`temperature` must be strictly positive"),
        (
            p.repetition_penalty is None or p.repetition_penalty > 0,
            "`repetition_penalty` must be strictly positive",
        ),
        (p.top_p is None or 0 < p.top_p < 1, "`top_p` must be > 0.0 and < 1.0"),
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
        (p.best_of in {None, 1}, "`best_of` != 1 is not allowed for this endpoint"),
        (p.typical_p is None, "`typical_p` is not supported by this endpoint"),
        (not p.frequency_penalty, "`frequency_penalty` is not supported by this endpoint"),
        (not p.watermark, "`watermark` is not supported by this endpoint"),
    )
    for holds, sentence in rules:
        if not holds:
            raise ValidationError(sentence)


def sampling(parameters: Parameters) -> Sampling:
    """How to choose tokens: like TGI, any warper that does something makes the request a sampled one."""
    p = parameters
    warped = p.temperature not in {None, 1.0} or p.top_k is not None or p.top_p is not None
    return Sampling(
        do_sample=p.do_sample or warped,
        seed=p.seed if p.seed is not None else secrets.randbits(64),
        temperature=p.temperature or 1.0,
        top_k=p.top_k or 0,
        top_p=p.top_p or 1.0,
        repetition_penalty=p.repetition_penalty or 1.0,
    )
