"""TGI's routes: from a body to a response."""

from __future__ import annotations

from functools import partial

from starlette.responses import JSONResponse, Response

from hub_tools.endpoints.server import answers, metrics, streams
from hub_tools.endpoints.server.errors import (
    BatchError,
    SuffixError,
    ToolError,
    UnhealthyError,
    ValidationError,
)
from hub_tools.endpoints.server.events import EventStream
from hub_tools.endpoints.server.info import FINGERPRINT, MAX_CLIENT_BATCH_SIZE, describe
from hub_tools.endpoints.server.jobs import Answered
from hub_tools.endpoints.server.openai_answers import OpenAIAnswers, models_answer
from hub_tools.endpoints.server.openai_schema import ChatBody, CompletionBody, VertexBody
from hub_tools.endpoints.server.parameters import completion_bodies
from hub_tools.endpoints.server.prompts import chat_tokens, text_tokens
from hub_tools.endpoints.server.schema import GenerateBody, VertexInstance
from hub_tools.endpoints.server.service import Check, Service
from hub_tools.endpoints.server.tools import ToolCall, read_call, tools_of
from hub_tools.endpoints.server.validation import Validator

AnyBody = GenerateBody | ChatBody | CompletionBody


class Routes:
    """One method a route; each raises `RequestError` for what cannot be answered."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._device = service.model.device.type

    async def health(self) -> Response:
        """200 as long as the model thread runs."""
        if not self._service.batcher.alive:
            raise UnhealthyError
        return Response()

    async def info(self) -> Response:
        """The model, its adapters and the limits."""
        service = self._service
        return JSONResponse(describe(service.model, service.options))

    async def models(self) -> Response:
        """Names that `model` may have."""
        model = self._service.model
        return JSONResponse(models_answer([model.source.name, *model.adapters]))

    async def metrics(self) -> Response:
        """What Prometheus reads."""
        text = self._service.metrics.text(self._service.gauges())
        return Response(text, headers={"content-type": metrics.CONTENT_TYPE})

    async def generate(self, body: GenerateBody) -> Response:
        """`POST /generate`: one object."""
        answered = await self._service.answer(lambda v: v.generate(body))
        return JSONResponse(_generated(body, answered), headers=answers.headers([answered], self._device))

    async def generate_stream(self, body: GenerateBody) -> Response:
        """`POST /generate_stream`: an event a token; like TGI it answers 200 and tells errors in an event."""
        steps = self._service.stream(lambda v: v.generate_stream(body))
        head = answers.stream_headers(len(body.inputs), self._device)
        return EventStream(streams.generate_events(body, steps), head)

    async def compat(self, body: GenerateBody) -> Response:
        """`POST /`: the same in a list, or as a stream; the prompt stands in front unless asked otherwise."""
        if body.parameters.return_full_text is None:
            parameters = body.parameters.model_copy(update={"return_full_text": True})
            body = body.model_copy(update={"parameters": parameters})
        if body.stream:
            return await self.generate_stream(body)
        answered = await self._service.answer(lambda v: v.generate(body))
        return JSONResponse([_generated(body, answered)], headers=answers.headers([answered], self._device))

    async def chat(self, body: ChatBody) -> Response:
        """`POST /v1/chat/completions`, with tools if there are any."""
        if tools_of(body):
            answered = await self._service.answer(lambda v: v.chat(body))
            call = self._call(answered)
            if call is not None:
                return self._called(body, answered, call)
            body = body.model_copy(update={"tools": None})
        if body.stream:
            return await self._chat_stream(body)
        answered = await self._service.answer(lambda v: v.chat(body))
        return self._chat_answer(answered, None)

    async def completions(self, body: CompletionBody) -> Response:
        """`POST /v1/completions`: one choice for each prompt."""
        if body.suffix is not None:
            raise SuffixError
        bodies = completion_bodies(body)
        if not 0 < len(bodies) <= MAX_CLIENT_BATCH_SIZE:
            raise BatchError(MAX_CLIENT_BATCH_SIZE)
        checks = [partial(Validator.generate, body=one) for one in bodies]
        writer = self._writer(body.model)
        if not body.stream:
            each = await self._service.answers(checks)
            head = answers.headers(each, self._device)
            return JSONResponse(writer.completion(each), headers=head)
        opened = await self._service.open_streams(checks)
        head = answers.stream_headers(sum(map(len, body.prompt)), self._device)
        return EventStream(streams.completion_events(writer, [steps for _, steps in opened]), head)

    async def invocations(self, body: AnyBody) -> Response:
        """`POST /invocations`: SageMaker's one route for all three kinds."""
        if isinstance(body, GenerateBody):
            return await self.compat(body)
        return await (self.chat(body) if isinstance(body, ChatBody) else self.completions(body))

    async def vertex(self, body: VertexBody) -> Response:
        """`POST /vertex`: Google's route for several prompts or chats; only their texts are answered."""
        if not body.instances:
            raise ValidationError("`instances` cannot be empty")
        each = await self._service.answers([_vertex_check(instance) for instance in body.instances])
        return JSONResponse({"predictions": [answered.best.text for answered in each]})

    async def tokenize(self, body: GenerateBody) -> Response:
        """`POST /tokenize`: the tokens of `inputs`."""
        return JSONResponse(await self._service.validate(lambda v: text_tokens(v.tokenizer, body.inputs)))

    async def chat_tokenize(self, body: ChatBody) -> Response:
        """`POST /chat_tokenize`: a chat after its template, and its tokens."""
        return JSONResponse(
            await self._service.validate(lambda v: chat_tokens(v.tokenizer, v.chat(body).prompt))
        )

    async def _chat_stream(self, body: ChatBody) -> Response:
        [(request, steps)] = await self._service.open_streams([lambda v: v.chat(body)])
        writer, count = self._writer(request.adapter), _counts(body)
        events = streams.chat_events(writer, steps, logprobs=request.logprobs, count=count)
        return EventStream(events, answers.stream_headers(request.characters, self._device))

    def _call(self, answered: Answered) -> ToolCall | None:
        try:
            return read_call(answered.best.text)
        except ToolError as error:
            self._service.metrics.failed(error.error_type)
            raise

    def _called(self, body: ChatBody, answered: Answered, call: ToolCall) -> Response:
        if not body.stream:
            return self._chat_answer(answered, call)
        writer = self._writer(answered.request.adapter)
        head = answers.stream_headers(answered.request.characters, self._device)
        return EventStream(streams.call_events(writer, answered, call, count=_counts(body)), head)

    def _chat_answer(self, answered: Answered, call: ToolCall | None) -> Response:
        answer = self._writer(answered.request.adapter).chat(answered, call)
        return JSONResponse(answer, headers=answers.headers([answered], self._device))

    def _writer(self, name: str | None) -> OpenAIAnswers:
        """Who writes in the name of an adapter, or of the base."""
        model = self._service.model
        known = name if name and name in model.adapters else model.source.name
        return OpenAIAnswers(known, FINGERPRINT)


def _generated(body: GenerateBody, answered: Answered) -> dict[str, object]:
    wanted = body.parameters
    details = wanted.details or wanted.decoder_input_details
    return answers.generate_answer(body.inputs, answered, full=bool(wanted.return_full_text), details=details)


def _vertex_check(instance: VertexInstance | ChatBody) -> Check:
    if isinstance(instance, ChatBody):
        return partial(Validator.chat, body=instance)
    body = GenerateBody(inputs=instance.inputs)
    if instance.parameters is not None:
        body = body.model_copy(update={"parameters": instance.parameters})
    return partial(Validator.generate, body=body)


def _counts(body: ChatBody) -> bool:
    return body.stream_options is not None and body.stream_options.include_usage
