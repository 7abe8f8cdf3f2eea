"""Chooses the next token of a row: watermark, penalties, grammar, temperature, cuts, in TGI's order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from hub_tools.endpoints.server.jobs import Sampling
from hub_tools.endpoints.server.watermark import watermarked

# The nucleus is nearly always in here, and finding the largest few is ten times cheaper than sorting all.
_NUCLEUS_GUESS = 1024
_LARGEST = 1e30  # what an absurd penalty may make of a score


class Mask(Protocol):
    """What a grammar allows next."""

    def allowed(self, size: int) -> torch.Tensor:
        """A boolean tensor over the vocabulary (`size` logits), on the CPU."""
        ...

    def advance(self, token: int) -> None:
        """Move on by a chosen token."""
        ...


@dataclass(frozen=True, slots=True)
class Choice:
    """A chosen token; `logprobs` is the distribution it came from (masked, untempered) if that was wanted."""

    token: int
    logprobs: torch.Tensor | None


class Sampler:
    """One request's choices; they depend on its own seed and logits only, never on the rest of the batch."""

    def __init__(self, sampling: Sampling, prompt: Sequence[int], mask: Mask | None, logprobs: bool) -> None:
        self.sampling = sampling
        self.mask = mask
        self.logprobs = logprobs
        # The generator stays on the CPU, so that a seed means the same numbers whatever runs the model.
        self.generator = torch.Generator().manual_seed(sampling.seed)
        self.history = list(prompt) if self.looks_back else None

    @property
    def plain(self) -> bool:
        """Whether the choice is just the largest logit, so that a whole batch can be done at once."""
        sampled = self.sampling.do_sample
        return not (sampled or self.logprobs or self.looks_back) and self.mask is None

    @property
    def looks_back(self) -> bool:
        """Whether tokens that came before have a say: against themselves, or in the watermark."""
        return self.penalised or self.sampling.watermark

    @property
    def penalised(self) -> bool:
        """Whether tokens that came before count against themselves."""
        return self.sampling.repetition_penalty != 1.0 or self.sampling.frequency_penalty != 0.0

    def choose(self, logits: torch.Tensor) -> Choice:
        """The next token for logits of shape (vocabulary,)."""
        scores = logits.float()
        if self.history is not None and self.sampling.watermark:
            scores = watermarked(scores, self.history[-1])
        if self.history is not None and self.penalised:
            scores = penalise(scores, self.history, self.sampling)
        if self.mask is not None:
            allowed = self.mask.allowed(scores.shape[-1]).to(scores.device)
            scores = scores.masked_fill(~allowed, -torch.inf)
        logprobs = torch.log_softmax(scores, dim=-1) if self.logprobs else None
        token = self._sample(scores) if self.sampling.do_sample else int(scores.argmax())
        self.advance(token)
        return Choice(token, logprobs)

    def advance(self, token: int) -> None:
        """Take note of a token that was chosen."""
        if self.mask is not None:
            self.mask.advance(token)
        if self.history is not None:
            self.history.append(token)

    def _sample(self, scores: torch.Tensor) -> int:
        values, ids = warp(scores, self.sampling)
        cumulative = torch.softmax(values, dim=-1, dtype=torch.float64).cumsum(-1)
        # One uniform number a token and the inverse of the distribution: rounding in the logits changes the
        # choice only where the number falls within that rounding of a boundary.
        point = (
            torch.rand(1, generator=self.generator, dtype=torch.float64).to(scores.device) * cumulative[-1]
        )
        index = int(torch.searchsorted(cumulative, point, right=True).clamp(max=len(cumulative) - 1))
        return index if ids is None else int(ids[index])


def warp(scores: torch.Tensor, sampling: Sampling) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Scores left by temperature, top-k, top-p and typical-p, and their token ids (None: all, in order)."""
    # The largest becomes 0, so that no temperature, however small, makes it infinite.
    values, ids = (scores - scores.max()) / sampling.temperature, None
    if 0 < sampling.top_k < len(values):
        smallest = torch.topk(values, sampling.top_k).values[-1]
        ids = (values >= smallest).nonzero().squeeze(-1)  # like transformers, ties with the last one stay
        values = values[ids]
    if sampling.top_p < 1.0:
        values, ids = _kept(values, ids, _nucleus(values, sampling.top_p))
    if sampling.typical_p < 1.0:
        values, ids = _kept(values, ids, _typical(values, sampling.typical_p))
    return values, ids


def penalise(scores: torch.Tensor, history: Sequence[int], sampling: Sampling) -> torch.Tensor:
    """Scores held back for the tokens of the prompt and the answer so far.

    A repetition penalty divides (a negative score: multiplies) once a token; a frequency penalty is taken
    off in proportion to the token's share of the history, as TGI does it, not to its count.
    """
    tokens = torch.tensor(history, device=scores.device)
    seen, counts = torch.unique(tokens, return_counts=True)
    found, penalty = scores[seen], sampling.repetition_penalty
    found = torch.where(found < 0, found * penalty, found / penalty)
    found = found - counts / len(history) * sampling.frequency_penalty
    return scores.index_copy(0, seen, found.nan_to_num(0.0, _LARGEST, -_LARGEST))


def _kept(
    values: torch.Tensor, ids: torch.Tensor | None, kept: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    return values[kept], kept if ids is None else ids[kept]


def _typical(values: torch.Tensor, mass: float) -> torch.Tensor:
    """Indices of the fewest values nearest to the expected information whose probability reaches `mass`."""
    logprobs = torch.log_softmax(values, dim=-1)
    probabilities = logprobs.exp()
    entropy = -(probabilities * logprobs).nan_to_num(0.0).sum()
    order = (-logprobs - entropy).abs().argsort(stable=True)
    sums = probabilities[order].cumsum(-1)
    return order[: int((sums < mass).sum()) + 1]


def _nucleus(values: torch.Tensor, top_p: float) -> torch.Tensor:
    """Indices of the fewest largest values whose probability reaches `top_p`."""
    total = torch.logsumexp(values, dim=-1)
    largest, order = torch.topk(values, min(_NUCLEUS_GUESS, len(values)))
    before = _mass_before(largest, total)
    if before[-1] < top_p and len(largest) < len(values):
        largest, order = torch.sort(values, descending=True)
        before = _mass_before(largest, total)
    kept = before < top_p
    kept[0] = True
    return order[kept]


def _mass_before(largest: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
    probabilities = (largest - total).exp()
    return probabilities.cumsum(-1) - probabilities
