from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from server_support import Caller

from hub_tools.endpoints.server.jobs import Sampling
from hub_tools.endpoints.server.sampling import Sampler, penalise, warp
from hub_tools.endpoints.server.watermark import watermarked

VOCABULARY = 3000


def _by_transformers(scores: torch.Tensor, settings: Sampling) -> torch.Tensor:
    from transformers import (
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
        TypicalLogitsWarper,
    )

    ids, row = torch.zeros((1, 1), dtype=torch.long), scores.unsqueeze(0)
    row = TemperatureLogitsWarper(settings.temperature)(ids, row)
    if settings.top_k:
        row = TopKLogitsWarper(settings.top_k)(ids, row)
    if settings.top_p < 1:
        row = TopPLogitsWarper(settings.top_p)(ids, row)
    if settings.typical_p < 1:
        row = TypicalLogitsWarper(settings.typical_p)(ids, row)
    return torch.softmax(row[0], -1)


@pytest.mark.parametrize("spread", [0.1, 3.0])  # a nearly flat distribution needs the nucleus' slow path
@pytest.mark.parametrize(
    "settings",
    [
        Sampling(True, 0, temperature=0.7),
        Sampling(True, 0, top_k=40),
        Sampling(True, 0, temperature=1.3, top_p=0.9),
        Sampling(True, 0, temperature=0.5, top_k=100, top_p=0.8),
        Sampling(True, 0, temperature=0.8, typical_p=0.4),
        Sampling(True, 0, top_k=50, top_p=0.9, typical_p=0.9),
    ],
)
def test_warpers_leave_the_distribution_that_transformers_leaves(settings: Sampling, spread: float) -> None:
    scores = torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(1)) * spread
    values, ids = warp(scores, settings)
    ours = torch.zeros(VOCABULARY)
    ours[torch.arange(VOCABULARY) if ids is None else ids] = torch.softmax(values, -1)
    assert torch.allclose(ours, _by_transformers(scores, settings), atol=1e-6)


def test_top_k_keeps_ties() -> None:
    values, ids = warp(torch.tensor([1.0, 5.0, 3.0, 3.0, 0.0]), Sampling(True, 0, top_k=2))
    assert ids is not None
    assert ids.tolist() == [1, 2, 3]
    assert values.tolist() == [0.0, -2.0, -2.0]  # only differences count


def test_samples_follow_the_distribution() -> None:
    scores = torch.tensor([0.0, 1.0, 2.0, -1.0])
    sampler = Sampler(Sampling(True, seed=7), (), None, logprobs=False)
    counts = torch.zeros(4)
    for _ in range(4000):
        counts[sampler.choose(scores).token] += 1
    assert torch.allclose(counts / 4000, torch.softmax(scores, -1), atol=0.03)


def test_repetition_penalty_is_that_of_transformers() -> None:
    from transformers import RepetitionPenaltyLogitsProcessor

    scores = torch.randn(50, generator=torch.Generator().manual_seed(2))
    prompt = (3, 9, 9)
    theirs = RepetitionPenaltyLogitsProcessor(1.8)(torch.tensor([prompt]), scores.unsqueeze(0))[0]
    settings = Sampling(False, 0, repetition_penalty=1.8)
    choice = Sampler(settings, prompt, None, logprobs=True).choose(scores)
    assert choice.logprobs is not None
    assert torch.allclose(choice.logprobs, torch.log_softmax(theirs, -1))


def test_frequency_penalty_follows_a_tokens_share_of_what_was_written() -> None:
    scores, history = torch.zeros(5), [1, 1, 1, 2]
    held_back = penalise(scores, history, Sampling(False, 0, frequency_penalty=2.0))
    assert held_back.tolist() == [0.0, -1.5, -0.5, 0.0, 0.0]


@pytest.mark.parametrize(
    "absurd",
    [
        Sampling(True, 0, temperature=1e-6),
        Sampling(True, 0, temperature=1e38),
        Sampling(True, 0, repetition_penalty=1e300, frequency_penalty=2.0),
        Sampling(True, 0, repetition_penalty=1e-300),
        Sampling(True, 0, top_p=1e-300, typical_p=1e-300, top_k=10**9),
    ],
)
def test_absurd_settings_still_choose_a_token_of_the_grammar(absurd: Sampling) -> None:
    class OnlyEven:
        def allowed(self, size: int) -> torch.Tensor:
            return torch.arange(size) % 2 == 0

        def advance(self, token: int) -> None:
            assert token % 2 == 0

    scores = torch.randn(50, generator=torch.Generator().manual_seed(5))
    scores[4] = 0.0
    sampler = Sampler(absurd, (2, 4, 6, 7), OnlyEven(), logprobs=True)
    for _ in range(20):
        choice = sampler.choose(scores)
        assert choice.logprobs is not None
        assert choice.token % 2 == 0
        assert bool(choice.logprobs[choice.token].isfinite())


def test_logprobs_are_those_before_temperature() -> None:
    scores = torch.randn(20, generator=torch.Generator().manual_seed(3))
    choice = Sampler(Sampling(True, 1, temperature=0.2), (), None, logprobs=True).choose(scores)
    assert choice.logprobs is not None
    assert torch.allclose(choice.logprobs, torch.log_softmax(scores, -1))


def test_watermark_is_that_of_transformers_and_found_by_its_detector() -> None:
    from transformers import LlamaConfig, WatermarkDetector, WatermarkingConfig
    from transformers.generation.logits_process import WatermarkLogitsProcessor

    scores, said = torch.zeros(VOCABULARY), [7]
    config = WatermarkingConfig(
        greenlist_ratio=0.5, bias=2.0, hashing_key=15485863, seeding_scheme="lefthash"
    )
    theirs = WatermarkLogitsProcessor(VOCABULARY, "cpu", 0.5, 2.0, 15485863, "lefthash", 1)
    assert torch.equal(watermarked(scores, 7), theirs(torch.tensor([said]), scores.unsqueeze(0).clone())[0])

    detector = WatermarkDetector(LlamaConfig(vocab_size=VOCABULARY), "cpu", config)
    for marked in (True, False):
        sampler = Sampler(Sampling(True, seed=7, watermark=marked), said, None, logprobs=False)
        answer = torch.tensor([[sampler.choose(scores).token for _ in range(80)]])
        assert bool(detector(answer)[0]) is marked


def _sampled(endpoint: Caller, seed: int) -> str:
    body = endpoint.chat("hello", seed=seed, temperature=0.9, top_p=0.95, max_tokens=24).body
    text: str = body["choices"][0]["message"]["content"]
    return text


def test_seeded_request_is_repeated_in_any_company(endpoint: Caller) -> None:
    alone = [_sampled(endpoint, seed) for seed in range(8)]
    assert len(set(alone)) == 8
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda seed: _sampled(endpoint, seed), range(8))) == alone


def test_seed_is_reported_and_reproduces(endpoint: Caller) -> None:
    first = endpoint.generate("hello", do_sample=True, max_new_tokens=12, details=True).body
    seed = first["details"]["seed"]
    again = endpoint.generate("hello", do_sample=True, max_new_tokens=12, details=True, seed=seed).body
    assert again == first
    assert endpoint.generate("hello", seed=2**64 - 1, do_sample=True, max_new_tokens=1).status == 200


def test_chat_without_temperature_samples_and_zero_is_greedy(endpoint: Caller) -> None:
    def answer(**settings: float) -> str:
        body = endpoint.chat("hello", max_tokens=16, **settings).body
        text: str = body["choices"][0]["message"]["content"]
        return text

    assert len({answer() for _ in range(4)}) > 1
    assert len({answer(temperature=0) for _ in range(4)}) == 1
