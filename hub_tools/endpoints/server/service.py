"""Takes one request from its body to its answer: admission, validation, the model, cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, aclosing, contextmanager, suppress
from copy import deepcopy
from dataclasses import replace
from queue import SimpleQueue
from time import monotonic
from typing import Any, TypeVar

from hub_tools.endpoints.server.batcher import Batcher
from hub_tools.endpoints.server.compiler import GrammarCompiler
from hub_tools.endpoints.server.errors import RequestError, UnhealthyError
from hub_tools.endpoints.server.info import VALIDATION_WORKERS
from hub_tools.endpoints.server.jobs import Answered, Generated, Job, Request, Sampling, Step
from hub_tools.endpoints.server.metrics import Metrics
from hub_tools.endpoints.server.model import LoadedModel
from hub_tools.endpoints.server.options import EndpointServerError, ServerOptions
from hub_tools.endpoints.server.parameters import new_seed
from hub_tools.endpoints.server.validation import Validator
from hub_tools.endpoints.server.visits import Visit, Visits

Result = TypeVar("Result")
Check = Callable[[Validator], Request]

# On a CPU reading one long prompt at a time is as fast as several padded ones; a GPU wants more at once.
_PREFILL_TOKENS = {"cpu": 512, "cuda": 8192}


class Service:
    """The model behind the routes; its methods run on the event loop and keep it free.

    Whoever awaits an answer, or iterates over one, gives its slot back by being cancelled or closed.
    """

    def __init__(self, model: LoadedModel, options: ServerOptions) -> None:
        self.model = model
        self.options = options
        self.metrics = Metrics()
        tokenizer = model.tokenizer
        own_end = tokenizer.eos_token_id
        self._compiler = GrammarCompiler(
            tokenizer, min(model.eos_ids, default=None) if own_end is None else own_end
        )
        alone = options.max_batch_size == 1 or model.steady is not None
        budget = 1 if alone else _PREFILL_TOKENS[model.device.type]
        # Each thread has its own tokenizer: a fast one cannot be used while another changes its settings.
        self.batcher = Batcher(model, deepcopy(tokenizer), options.max_batch_size, budget)
        self._validators: SimpleQueue[Validator] = SimpleQueue()
        for _ in range(VALIDATION_WORKERS):
            self._validators.put(Validator.of(model, deepcopy(tokenizer)))
        self._tokenizing = ThreadPoolExecutor(VALIDATION_WORKERS, thread_name_prefix="tokenizer")
        self._visits = Visits(options.max_concurrent_requests)

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
        return await asyncio.get_running_loop().run_in_executor(self._tokenizing, self._checked, check)

    def _checked(self, check: Callable[[Validator], Result]) -> Result:
        validator = self._validators.get()  # there are as many as threads
        try:
            return check(validator)
        finally:
            self._validators.put(validator)

    async def answer(self, check: Check) -> Answered:
        """Validate and generate; raises `RequestError`."""
        with self._visit() as visit:
            request = await self._ready(check)
            queued = monotonic()
            each = [replace(request, sampling=_reseeded(request.sampling, n)) for n in range(request.best_of)]
            made = await _together(self._generated(one) for one in each)
            best = max(made, key=_likelihood) if len(made) > 1 else made[0]
            others = [one for one in made if one is not best]
            return self._answered(Answered(request, best, others, queued - visit.since))

    async def answers(self, checks: Iterable[Check]) -> list[Answered]:
        """Several requests at once; the first that fails ends the others."""
        return await _together(self.answer(check) for check in checks)

    async def stream(self, check: Check) -> AsyncGenerator[Request | Step | Answered]:
        """The request once it is valid, then the steps of its answer as they come, and at last the answer.

        Raises `RequestError`, before the first item if the request cannot be served.
        """
        with self._visit() as visit:
            request = await self._ready(check)
            yield request
            queued = monotonic()
            async with aclosing(self._steps(request, visit)) as steps:
                async for item in steps:
                    if isinstance(item, Step):
                        yield item
                    else:
                        yield self._answered(Answered(request, item, (), queued - visit.since))

    async def open_streams(
        self, checks: Iterable[Check]
    ) -> list[tuple[Request, AsyncGenerator[Request | Step | Answered]]]:
        """Streams whose requests are valid; raises `RequestError` if one is not, and none is opened then."""
        opened = []
        async with AsyncExitStack() as stack:
            for check in checks:
                steps = self.stream(check)
                stack.push_async_callback(steps.aclose)
                request = await anext(steps)
                assert isinstance(request, Request)
                opened.append((request, steps))
            stack.pop_all()
        return opened

    def gauges(self) -> dict[str, float]:
        """How full the server is, under TGI's names."""
        return {
            "tgi_queue_size": self.batcher.waiting,
            "tgi_batch_current_size": self.batcher.running,
            "tgi_batch_current_max_tokens": self.batcher.running_tokens,
        }

    @contextmanager
    def _visit(self) -> Iterator[Visit]:
        """Let a request in, and count it and how it fails."""
        self.metrics.arrived()
        visit = None
        try:
            visit = self._visits.enter()
            if not self.batcher.alive:
                raise UnhealthyError
            yield visit
        except RequestError as error:
            self.metrics.failed(error.error_type)
            raise
        finally:
            if visit is not None:
                visit.leave()

    async def _ready(self, check: Check) -> Request:
        request = await self.validate(check)
        self.metrics.accepted(request)
        if request.source is None:
            return request
        return replace(request, grammar=await self._compiler.compile(request.source))

    async def _generated(self, request: Request) -> Generated:
        async with aclosing(self._steps(request)) as steps:
            async for item in steps:
                if isinstance(item, Generated):
                    return item
        raise UnhealthyError  # not reached: the last item is always the answer

    async def _steps(self, request: Request, visit: Visit | None = None) -> AsyncGenerator[Step | Generated]:
        """What the model thread hands over; with a `visit` to end every token, without only the answer.

        The visit ends with the answer, not when a slow reader has read all of it.
        """
        loop = asyncio.get_running_loop()
        items: asyncio.Queue[Step | Generated | RequestError] = asyncio.Queue()

        def hand(item: Step | Generated | RequestError) -> None:
            with suppress(RuntimeError):  # the loop is closed when the server stops
                loop.call_soon_threadsafe(items.put_nowait, item)
                if visit is not None and not isinstance(item, Step):
                    loop.call_soon_threadsafe(visit.leave)

        job = Job(request, hand, None if visit is None else hand)
        self.batcher.submit(job)
        try:
            while isinstance(item := await items.get(), Step):
                yield item
            if isinstance(item, RequestError):
                raise item
            yield item
        finally:
            job.cancelled = True

    def _answered(self, answered: Answered) -> Answered:
        self.metrics.answered(answered)
        return answered


async def _together(work: Iterable[Coroutine[Any, Any, Result]]) -> list[Result]:
    """All results; the first failure, or being cancelled, ends the rest."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _reseeded(sampling: Sampling, number: int) -> Sampling:
    return replace(sampling, seed=new_seed()) if number else sampling


def _likelihood(generated: Generated) -> float:
    """Mean log-probability of a token, by which TGI chooses the best of several answers."""
    logprobs = [token.logprob or 0.0 for token in generated.tokens]
    return sum(logprobs) / max(1, len(logprobs))
