"""Bodies of the routes that TGI shares with OpenAI's API."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field, JsonValue

from hub_tools.endpoints.server.schema import U32, U64, Grammar, StrictBody, VertexInstance


def _listed(value: Any) -> Any:
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_listed)]
MaxTokens = Annotated[
    int | None, Field(ge=0, le=U32, validation_alias=AliasChoices("max_tokens", "max_completion_tokens"))
]


class StreamOptions(StrictBody):
    """`stream_options`: with `include_usage` a last chunk counts the tokens."""

    include_usage: bool = False


class Chunk(StrictBody):
    """One part of a message given as a list."""

    type: str
    text: str | None = None


class ChatMessage(StrictBody):
    """One turn; its text is data and never becomes a control token."""

    role: str
    content: str | tuple[Chunk, ...] | None = None
    tool_calls: list[JsonValue] | None = None
    tool_call_id: str | None = None


class Function(StrictBody):
    """A function that the model may call; `parameters` (TGI also says `arguments`) is a JSON schema."""

    name: str
    description: str | None = None
    parameters: dict[str, JsonValue] = Field({}, validation_alias=AliasChoices("parameters", "arguments"))


class Tool(StrictBody):
    """One of `tools`."""

    type: Literal["function"] = "function"
    function: Function


class FunctionName(StrictBody):
    """The function that has to be called."""

    name: str


class NamedTool(StrictBody):
    """`tool_choice` for one function."""

    type: Literal["function"] = "function"
    function: FunctionName


class _OpenAIBody(StrictBody):
    model: str | None = None
    max_tokens: MaxTokens = None
    temperature: float | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    n: int | None = Field(None, ge=0)
    stop: Texts | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    seed: int | None = Field(None, ge=0, le=U64)


class ChatBody(_OpenAIBody):
    """Body of `/v1/chat/completions` and `/chat_tokenize`."""

    messages: tuple[ChatMessage, ...]
    presence_penalty: float | None = None
    logit_bias: list[float] | dict[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=U32)
    tools: tuple[Tool, ...] | None = None
    tool_choice: str | NamedTool | None = None
    tool_prompt: str | None = None
    response_format: Grammar | None = None


class CompletionBody(_OpenAIBody):
    """Body of `/v1/completions`; several prompts are answered as one choice each."""

    prompt: Texts
    suffix: str | None = None
    best_of: int | None = Field(None, ge=0)
    echo: bool | None = None
    logprobs: int | None = None


class VertexBody(StrictBody):
    """Body of `/vertex`: prompts and chats, which are answered beside each other."""

    instances: tuple[VertexInstance | ChatBody, ...]
