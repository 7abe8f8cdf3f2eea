"""Takes one request from its body to its answer: admission, validation, the model, cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from queue import SimpleQueue
from typing import Any, TypeVar

from hub_tools import __version__
from hub_tools.endpoints.server.batcher import Batcher
from hub_tools.endpoints.server.compiler import GrammarCompiler
from hub_tools.endpoints.server.errors import ClientGoneError, OverloadedError, RequestError, UnhealthyError
from hub_tools.endpoints.server.jobs import Generated, Job, Request, Sampling
from hub_tools.endpoints.server.model import LoadedModel
from hub_tools.endpoints.server.options import EndpointServerError, ServerOptions
from hub_tools.endpoints.server.source import BASE_ALIASES
from hub_tools.endpoints.server.validation import MAX_STOP_SEQUENCES, Validator

Result = TypeVar("Result")

# On a CPU reading one long prompt at a time is as fast as several padded ones; a GPU wants more at once.
_PREFILL_TOKENS = {"cpu": 512, "cuda": 8192}


class Service:
    """The model behind the routes; its methods run on the event loop and keep it free."""

    def __init__(self, model: LoadedModel, options: ServerOptions) -> None:
        self.model = model
        self.options = options
        self.version = __version__
        tokenizer = model.tokenizer
        eos_id = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else min(model.eos_ids)
        self._compiler = GrammarCompiler(tokenizer, eos_id)
        self._validator = Validator(
            tokenizer,
            (*BASE_ALIASES, model.source.name),
            tuple(model.adapters),
            model.max_total_tokens,
        )
        budget = 1 if options.max_batch_size == 1 else _PREFILL_TOKENS[model.device.type]
        # A second tokenizer: a fast one cannot be used while another thread changes its settings.
        self.batcher = Batcher(model, deepcopy(tokenizer), options.max_batch_size, budget)
        self._tokenizing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tokenizer")
        self._compiling = ThreadPoolExecutor(max_workers=1, thread_name_prefix="compiler")
        self._here = 0

    def try_out(self) -> None:
        """Generate two tokens with the base and every adapter; raises `EndpointServerError` if one cannot."""
        for name in (None, *self.model.adapters):
            outcome: SimpleQueue[Generated | RequestError] = SimpleQueue()
            prompt = (min(self.model.eos_ids, default=0),)
            request = Request(prompt, 2, Sampling(do_sample=False, seed=0), adapter=name)
            self.batcher.submit(Job(request, outcome.put))
            answer = outcome.get()
            if isinstance(answer, RequestError):
                raise EndpointServerError(f"{name or self.model.source.name} does not work here: {answer}")

    async def validate(self, check: Callable[[Validator], Result]) -> Result:
        """Run something that needs the tokenizer, off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._tokenizing, check, self._validator)

    async def answer(
        self, check: Callable[[Validator], Request], gone: Callable[[], Coroutine[Any, Any, None]]
    ) -> tuple[Request, Generated]:
        """Validate and generate; raises `RequestError`, `ClientGoneError` among them when it is `gone`."""
        if self._here >= self.options.max_concurrent_requests:
            raise OverloadedError
        if not self.batcher.alive:
            raise UnhealthyError
        self._here += 1
        try:
            request = await self._compile(await self.validate(check))
            return request, await self._generate(request, gone)
        finally:
            self._here -= 1

    async def _compile(self, request: Request) -> Request:
        if request.regex is None:
            return request
        loop = asyncio.get_running_loop()
        grammar = await loop.run_in_executor(self._compiling, self._compiler.compile, request.regex)
        return replace(request, grammar=grammar)

    async def _generate(self, request: Request, gone: Callable[[], Coroutine[Any, Any, None]]) -> Generated:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Generated] = loop.create_future()

        def done(outcome: Generated | RequestError) -> None:
            loop.call_soon_threadsafe(_settle, future, outcome)

        job = Job(request, done)
        self.batcher.submit(job)
        leaving = loop.create_task(gone())
        try:
            either: list[asyncio.Future[Any]] = [future, leaving]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not future.done():
                raise ClientGoneError
            return future.result()
        finally:
            job.cancelled = True
            leaving.cancel()

    def info(self) -> dict[str, Any]:
        """Body of `/info`: TGI's keys, and ours (`adapters`, `seed_is_batch_invariant`, …) beside them."""
        model, options = self.model, self.options
        return {
            "model_id": model.source.name,
            "model_sha": model.source.sha,
            "model_pipeline_tag": "text-generation",
            "model_dtype": str(model.dtype),
            "model_device_type": model.device.type,
            "max_concurrent_requests": options.max_concurrent_requests,
            "max_best_of": 1,
            "max_stop_sequences": MAX_STOP_SEQUENCES,
            "max_input_tokens": model.max_total_tokens - 1,
            "max_total_tokens": model.max_total_tokens,
            "max_client_batch_size": 1,
            "max_batch_size": options.max_batch_size,
            "max_batch_total_tokens": options.max_batch_size * model.max_total_tokens,
            "validation_workers": 1,
            "router": "backforth-endpoint",
            "version": self.version,
            "sha": None,
            "docker_label": None,
            "adapters": {name: _described(source) for name, source in model.adapters.items()},
            "seed_is_batch_invariant": options.max_batch_size == 1,
        }


def _described(source: Any) -> dict[str, str | None]:
    # The folder of a local adapter is nobody else's business; a repository and its commit are.
    return {"id": source.name if source.sha else None, "sha": source.sha}


def _settle(future: asyncio.Future[Generated], outcome: Generated | RequestError) -> None:
    if future.done():
        return
    if isinstance(outcome, RequestError):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
