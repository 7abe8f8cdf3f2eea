from __future__ import annotations

import random
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

import pytest
import torch
from server_support import BASE, Tiny

from hub_tools.endpoints.server.batch import RunningBatch
from hub_tools.endpoints.server.batcher import Batcher
from hub_tools.endpoints.server.jobs import Job, Request, Sampling
from hub_tools.endpoints.server.model import LoadedModel, load
from hub_tools.endpoints.server.options import ServerOptions
from hub_tools.endpoints.server.rows import Row
from hub_tools.endpoints.server.source import find_sources


@pytest.fixture(scope="module")
def model(tiny_model: Tiny) -> LoadedModel:
    options = ServerOptions(str(tiny_model.base), tiny_model.adapters, model_id=BASE, threads=1)
    return load(options, find_sources(options))


def _row(model: LoadedModel, rng: random.Random) -> Row:
    prompt = tuple(rng.randrange(3, 250) for _ in range(rng.choice([1, 3, 20, 150])))
    adapter = rng.choice([None, "org/backward", "forward.v2"])
    request = Request(prompt, rng.choice([1, 2, 10, 60]), Sampling(do_sample=False, seed=0), adapter)
    return Row(Job(request, lambda outcome: None), model, model.tokenizer)


def _alone(model: LoadedModel, row: Row) -> list[int]:
    batch, copy = RunningBatch(model), Row(row.job, model, model.tokenizer)
    batch.prefill([copy])
    while copy.finish is None:
        batch.step()
    return copy.ids


@pytest.mark.parametrize("seed", range(3))
def test_rows_that_come_and_go_in_any_order_are_undisturbed(model: LoadedModel, seed: int) -> None:
    rng = random.Random(seed)
    with torch.inference_mode():
        waiting = [_row(model, rng) for _ in range(40)]
        expected: dict[Any, list[int]] = {row: _alone(model, row) for row in waiting}
        batch, widest = RunningBatch(model), 0
        while waiting or batch.rows:
            if waiting and len(batch.rows) < 6 and rng.random() < 0.5:
                joining = [waiting.pop() for _ in range(min(len(waiting), rng.randint(1, 3)))]
                assert batch.prefill(joining) == []
            if batch.rows:
                assert batch.step() == []
            batch.leave([row for row in batch.rows if row.finish])
            widest = max(widest, batch._cache.extent.columns)
    assert {row: row.ids for row in expected} == expected
    assert widest < 400  # columns that nobody needs any more are given back


def test_trouble_with_one_row_is_its_own(model: LoadedModel) -> None:
    rng = random.Random(0)
    with torch.inference_mode():
        rows = [_row(model, rng) for _ in range(3)]

        def broken(logits: torch.Tensor) -> Any:
            raise RuntimeError("no such token")

        rows[1].sampler.logprobs = True  # so that it is asked by itself
        rows[1].sampler.choose = broken  # type: ignore[method-assign]
        failed = RunningBatch(model).prefill(rows)
    assert [(row, error.status) for row, error in failed] == [(rows[1], 424)]
    assert all(len(rows[number].ids) == 1 for number in (0, 2))


class Broken:
    """A network that fails as long as it is told to."""

    def __init__(self, network: Any, longest: int = 0) -> None:
        self.config = network.config
        self._network = network
        self.fails = True
        self._longest = longest

    def __call__(self, **inputs: Any) -> Any:
        if self.fails and inputs["input_ids"].shape[1] > self._longest:
            raise RuntimeError("out of memory\nand more")
        return self._network(**inputs)


def _ask(batcher: Batcher, length: int) -> tuple[Job, SimpleQueue[Any]]:
    outcome: SimpleQueue[Any] = SimpleQueue()
    job = Job(Request((5, 6, 7), length, Sampling(do_sample=True, seed=1)), outcome.put)
    batcher.submit(job)
    return job, outcome


def test_failed_batch_is_424_and_the_next_request_is_served(model: LoadedModel) -> None:
    network = Broken(model.network)
    batcher = Batcher(replace(model, network=network), model.tokenizer, 2, 512)
    batcher.start()
    outcome = _ask(batcher, 5)[1].get(timeout=20)
    assert (outcome.status, str(outcome)) == (424, "Request failed during generation: out of memory")
    network.fails = False
    assert _ask(batcher, 5)[1].get(timeout=20).generated_tokens > 0
    batcher.stop()


def test_prompt_that_cannot_be_read_leaves_the_running_rows_alone(model: LoadedModel) -> None:
    batch = RunningBatch(replace(model, network=Broken(model.network, longest=30)))
    request = Request((5, 6, 7), 40, Sampling(do_sample=False, seed=0))
    short, long = (
        Row(Job(replace(request, prompt=prompt), print), model, model.tokenizer)
        for prompt in (request.prompt, request.prompt * 20)
    )
    assert batch.prefill([short]) == []
    [(failed, error)] = batch.prefill([long])
    assert (failed, str(error)) == (long, "Request failed during generation: out of memory")
    assert batch.step() == []
    assert (batch.rows, len(short.ids)) == ([short], 2)


def test_lost_gpu_ends_the_model_thread(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("batch", "batcher"):
        monkeypatch.setattr(f"hub_tools.endpoints.server.{module}.works", lambda device: False)
    lost = Batcher(replace(model, network=Broken(model.network)), model.tokenizer, 2, 512)
    lost.start()
    assert _ask(lost, 5)[1].get(timeout=20).status == 424
    lost._thread.join(timeout=20)
    assert not lost.alive  # what makes /health answer 503


def test_cancelled_job_leaves_its_slot(model: LoadedModel) -> None:
    batcher = Batcher(replace(model, eos_ids=frozenset()), model.tokenizer, 1, 512)
    batcher.start()
    first, never = _ask(batcher, 100_000)
    _, outcome = _ask(batcher, 3)
    first.cancelled = True
    assert outcome.get(timeout=20).generated_tokens == 3
    assert never.empty()
    batcher.stop()
    assert not batcher.alive


def test_stopping_fails_what_is_not_finished(model: LoadedModel) -> None:
    batcher = Batcher(replace(model, eos_ids=frozenset()), model.tokenizer, 1, 512)
    batcher.start()
    outcomes = [_ask(batcher, 100_000)[1] for _ in range(3)]
    batcher.stop()
    outcomes.append(_ask(batcher, 3)[1])  # too late
    assert [outcome.get(timeout=20).status for outcome in outcomes] == [424, 424, 424, 424]
