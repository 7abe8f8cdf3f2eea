from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from time import sleep
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from server_support import BASE, Caller, Tiny

from hub_tools.endpoints.server.model import LoadedModel, load
from hub_tools.endpoints.server.options import ServerOptions
from hub_tools.endpoints.server.source import find_sources
from hub_tools.endpoints.server.steady import SteadyRows, steady_widths

PROMPTS = ["a", "hello world", "Score: 1 Score: 5 the judge gives", "café 日本 😀 über world " * 5]
ADAPTERS = [None, "org/backward", "forward.v2"]


def _details(endpoint: Caller, prompt: str, adapter: str | None, length: int, seed: int) -> Any:
    settings = {"temperature": 0.9, "top_n_tokens": 3, "details": True, "seed": seed}
    reply = endpoint.generate(prompt, max_new_tokens=length, adapter_id=adapter, **settings)
    assert reply.status == 200, reply.body
    return reply.body["details"]


def test_seeded_answer_has_the_same_bits_in_any_company_where_that_is_promised(endpoint: Caller) -> None:
    promised = endpoint.get("/info").body["seed_is_batch_invariant"]  # a processor may add otherwise
    wanted = [(p, a, 10 + 17 * i, i) for i, p in enumerate(PROMPTS) for a in ADAPTERS]
    alone = [_details(endpoint, *request) for request in wanted]
    with ThreadPoolExecutor(len(wanted)) as pool:
        together = []
        for request in reversed(wanted):
            together.append(pool.submit(_details, endpoint, *request))
            sleep(0.01)
        answers = [answer.result() for answer in reversed(together)]
    assert answers == alone or not promised  # log-probabilities and all


@pytest.fixture(scope="module")
def model(tiny_model: Tiny) -> LoadedModel:
    options = ServerOptions(str(tiny_model.base), model_id=BASE, threads=1, max_batch_size=6)
    return load(options, find_sources(options))


def test_batches_are_filled_up_to_a_steady_number_of_rows(model: LoadedModel) -> None:
    assert all(rows <= model.width(rows) <= 6 for rows in range(1, 7))
    assert [SteadyRows([2, 8]).width(rows) for rows in (1, 2, 3, 8)] == [2, 2, 8, 8]


def _logits(rounding: Any) -> Any:
    def logits(tokens: Sequence[int]) -> torch.Tensor:
        return torch.tensor([[float(t), rounding(place, tokens)] for place, t in enumerate(tokens)])

    return logits


PLAIN = SimpleNamespace()


def test_widths_are_those_that_round_as_a_full_batch_does() -> None:
    def coarse(place: int, tokens: Sequence[int]) -> float:
        return 0.0 if len(tokens) > 2 else 1e-7

    always = _logits(lambda place, tokens: 0.0)
    assert steady_widths(PLAIN, 8, 100, [always]) == [1, 2, 4, 8]
    assert steady_widths(PLAIN, 8, 100, [always, _logits(coarse)]) == [4, 8]
    assert steady_widths(PLAIN, 6, 100, [_logits(coarse)]) == [4, 6]


def test_rows_that_feel_their_place_or_their_company_are_not_steady() -> None:
    assert steady_widths(PLAIN, 8, 100, [_logits(lambda place, tokens: float(place))]) == []
    assert steady_widths(PLAIN, 8, 100, [_logits(lambda place, tokens: float(len(set(tokens))))]) == []
    experts = SimpleNamespace(num_experts=4)
    assert steady_widths(experts, 8, 100, [_logits(lambda place, tokens: 0.0)]) == []
