"""Checks a request against TGI's rules and this server's limits, and makes it ready for the model."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hub_tools.endpoints.server.errors import ValidationError
from hub_tools.endpoints.server.grammar import source_of
from hub_tools.endpoints.server.jobs import Request
from hub_tools.endpoints.server.model import LoadedModel
from hub_tools.endpoints.server.openai_schema import ChatBody
from hub_tools.endpoints.server.parameters import chat_parameters, check_parameters, sampling
from hub_tools.endpoints.server.prompts import encode_chat, encode_text
from hub_tools.endpoints.server.schema import GenerateBody, Grammar, Parameters
from hub_tools.endpoints.server.source import BASE_ALIASES
from hub_tools.endpoints.server.tools import schema_of, tools_of

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

    @classmethod
    def of(cls, model: LoadedModel, tokenizer: Any) -> Validator:
        """A validator for what a model can do, with a tokenizer of its own."""
        names = (*BASE_ALIASES, model.source.name)
        return cls(tokenizer, names, tuple(model.adapters), model.max_total_tokens)

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
        return self._request(prompt, body.parameters, len(body.inputs))

    def generate_stream(self, body: GenerateBody) -> Request:
        """A request of `/generate_stream`, whose tokens all have log-probabilities."""
        if body.parameters.best_of not in {None, 1}:
            raise ValidationError("`best_of` != 1 is not supported when streaming tokens")
        if body.parameters.decoder_input_details:
            raise ValidationError("`decoder_input_details` == true is not supported when streaming tokens")
        return replace(self.generate(body), logprobs=True)

    def chat(self, body: ChatBody) -> Request:
        """A request of `/v1/chat/completions`; raises `ValidationError`, `ToolError` or `TemplateError`."""
        parameters = chat_parameters(body)
        tools = tools_of(body)
        if tools:
            grammar = Grammar(type="json", value=schema_of(tools))
            parameters = parameters.model_copy(update={"grammar": grammar})
        check_parameters(parameters)
        prompt = encode_chat(self.tokenizer, body.messages, tools, body.tool_prompt)
        return self._request(prompt, parameters, _characters(body))

    def _request(self, prompt: tuple[int, ...], parameters: Parameters, characters: int) -> Request:
        if not prompt:
            raise ValidationError("`inputs` cannot be empty")
        best_of = parameters.best_of or 1
        return Request(
            prompt=prompt,
            max_new_tokens=self._answer_length(len(prompt), parameters.max_new_tokens),
            sampling=sampling(parameters),
            characters=characters,
            adapter=self._adapter(parameters.adapter_id),
            stop=parameters.stop,
            source=source_of(parameters.grammar),
            best_of=best_of,
            logprobs=parameters.details or parameters.decoder_input_details or best_of > 1,
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


def _characters(body: ChatBody) -> int:
    """Characters of the messages; the template's own are not counted."""
    parts: list[Sequence[Any]] = [message.content or () for message in body.messages]
    return sum(len(part) if isinstance(part, str) else sum(len(c.text or "") for c in part) for part in parts)
