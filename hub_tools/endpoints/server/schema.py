"""Bodies of TGI's own routes: unknown fields are ignored, wrong types are not coerced."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

U32 = 2**32 - 1
U64 = 2**64 - 1


class StrictBody(BaseModel):
    """What every body has in common."""

    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False, frozen=True)


class Grammar(StrictBody):
    """`{"type": "regex" | "json" | "json_schema", "value": …}`; OpenAI's `json_schema` key is taken too."""

    type: Literal["regex", "json", "json_object", "json_schema", "text"]
    value: Any = None
    json_schema: Any = None


class Parameters(StrictBody):
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
    max_new_tokens: int | None = Field(None, ge=0, le=U32)
    return_full_text: bool | None = None
    stop: tuple[str, ...] = ()
    truncate: int | None = Field(None, ge=0)
    watermark: bool = False
    details: bool = False
    decoder_input_details: bool = False
    seed: int | None = Field(None, ge=0, le=U64)
    top_n_tokens: int | None = Field(None, ge=0, le=U32)
    grammar: Grammar | None = None


class GenerateBody(StrictBody):
    """Body of TGI's own routes; without `parameters` TGI samples, with them it does not."""

    inputs: str
    parameters: Parameters = Parameters(do_sample=True)
    stream: bool = False


class VertexInstance(StrictBody):
    """One prompt of `/vertex`."""

    inputs: str
    parameters: Parameters | None = None
