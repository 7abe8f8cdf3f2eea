"""Request bodies as TGI takes them: unknown fields are ignored, wrong types are not coerced."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

_U32 = 2**32 - 1
_U64 = 2**64 - 1


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False, frozen=True)


class Grammar(_Body):
    """`{"type": "regex" | "json" | "json_schema", "value": …}`; OpenAI's `json_schema` key is taken too."""

    type: Literal["regex", "json", "json_object", "json_schema", "text"]
    value: Any = None
    json_schema: Any = None


class Parameters(_Body):
    """`parameters` of `/generate` and `/`."""

    adapter_id: str | None = None
    best_of: int | None = Field(None, ge=0)
    temperature: float | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    typical_p: float | None = None
    do_sample: bool = False
    max_new_tokens: int | None = Field(None, ge=0, le=_U32)
    return_full_text: bool | None = None
    stop: tuple[str, ...] = ()
    truncate: int | None = Field(None, ge=0)
    watermark: bool = False
    details: bool = False
    decoder_input_details: bool = False
    seed: int | None = Field(None, ge=0, le=_U64)
    top_n_tokens: int | None = Field(None, ge=0, le=_U32)
    grammar: Grammar | None = None


class GenerateBody(_Body):
    """Body of `/generate`, `/` and `/tokenize`; without `parameters` TGI samples, with them it does not."""

    inputs: str
    parameters: Parameters = Parameters(do_sample=True)
    stream: bool = False


class Chunk(_Body):
    """One part of a message given as a list."""

    type: str
    text: str | None = None


class ChatMessage(_Body):
    """One turn; its text is data and never becomes a control token."""

    role: str
    content: str | tuple[Chunk, ...]


class ChatBody(_Body):
    """Body of `/v1/chat/completions`."""

    messages: tuple[ChatMessage, ...]
    model: str | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=_U32)
    max_tokens: int | None = Field(None, ge=0, le=_U32)
    n: int | None = Field(None, ge=0)
    stop: tuple[str, ...] | None = None
    stream: bool = False
    seed: int | None = Field(None, ge=0, le=_U64)
    temperature: float | None = None
    top_p: float | None = None
    tools: list[Any] | None = None
    response_format: Grammar | None = None
