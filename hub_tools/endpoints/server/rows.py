"""One request inside the running batch: its tokens so far, and when it is finished."""

from __future__ import annotations

from time import monotonic
from typing import Any

import torch

from hub_tools.endpoints.server.grammar import GrammarMask
from hub_tools.endpoints.server.jobs import FinishReason, Generated, Job, Step, Token
from hub_tools.endpoints.server.model import LoadedModel
from hub_tools.endpoints.server.sampling import Choice, Sampler
from hub_tools.endpoints.server.text import StopSearch, TextStream, decode_answer


class Row:
    """The state of one request; `finish` is None while it wants more tokens."""

    def __init__(self, job: Job, model: LoadedModel, tokenizer: Any) -> None:
        request = job.request
        self.job = job
        self.model = model
        self.tokenizer = tokenizer
        self.ids: list[int] = []
        self.finish: FinishReason | None = None
        mask = GrammarMask(request.grammar) if request.grammar is not None else None
        wants_logprobs = request.logprobs or request.top_n_tokens > 0
        self.sampler = Sampler(request.sampling, request.prompt, mask, wants_logprobs)
        self.tokens: list[Token] = []
        self.top_tokens: list[tuple[Token, ...]] = []
        self.prefill: tuple[tuple[int, str, float | None], ...] = ()
        self._special = set(tokenizer.all_special_ids)
        self._stream = TextStream(tokenizer, request.prompt) if request.stop else None
        wants_tokens = wants_logprobs or job.step is not None
        self._token_stream = TextStream(tokenizer, request.prompt) if wants_tokens else None
        self._stop = StopSearch(request.stop)
        self._behind_stop: int | None = None
        self._last: Step | None = None

    @property
    def length(self) -> int:
        """Tokens of the prompt and of the answer so far."""
        return len(self.job.request.prompt) + len(self.ids)

    def accept(self, choice: Choice) -> None:
        """Take a chosen token into the answer, and decide whether it was the last."""
        self.ids.append(choice.token)
        step = self._described(choice) if self._token_stream is not None else None
        if choice.token in self.model.eos_ids:
            self.finish = "eos_token"
        elif self._stream is not None and self._at_stop(choice.token):
            self.finish = "stop_sequence"
        elif len(self.ids) >= self.job.request.max_new_tokens:
            self.finish = "length"
        if step is not None:
            self._note(step)

    def result(self) -> Generated:
        """The finished answer."""
        request = self.job.request
        text = decode_answer(self.tokenizer, request.prompt, self.ids)
        if self._behind_stop:
            # TGI keeps the stop sequence itself; what the same token brought behind it goes.
            text = text[: -self._behind_stop]
        return Generated(
            text=text,
            finish_reason=self.finish or "length",
            generated_tokens=len(self.ids),
            seed=request.sampling.seed if request.sampling.do_sample else None,
            last=self._last,
            tokens=tuple(self.tokens),
            top_tokens=tuple(self.top_tokens),
            prefill=self.prefill,
            queue_seconds=self.job.started - self.job.arrived,
            inference_seconds=monotonic() - self.job.started,
        )

    def note_prefill(self, logits: torch.Tensor) -> None:
        """Log-probabilities of the prompt's tokens, from logits of shape (tokens, vocabulary)."""
        prompt = self.job.request.prompt
        before = logits[:-1].float()
        following = torch.tensor(prompt[1:], device=logits.device, dtype=torch.long).unsqueeze(1)
        chosen = (before.gather(1, following).squeeze(1) - before.logsumexp(-1)).tolist()
        texts = [self.tokenizer.decode([token], clean_up_tokenization_spaces=False) for token in prompt]
        self.prefill = tuple(zip(prompt, texts, [None, *chosen], strict=True))

    def _at_stop(self, token: int) -> bool:
        assert self._stream is not None
        self._behind_stop = self._stop.found_in(self._stream.push(token, skip_special=True))
        return self._behind_stop is not None

    def _described(self, choice: Choice) -> Step:
        assert self._token_stream is not None
        text = self._token_stream.push(choice.token, skip_special=False)
        logprob = None if choice.logprobs is None else float(choice.logprobs[choice.token])
        return Step(Token(choice.token, text, logprob, choice.token in self._special), self._rivals(choice))

    def _rivals(self, choice: Choice) -> tuple[Token, ...]:
        wanted = self.job.request.top_n_tokens
        if not wanted or choice.logprobs is None:
            return ()
        values, ids = torch.topk(choice.logprobs, min(wanted, len(choice.logprobs)))
        pairs = zip(ids.tolist(), values.tolist(), strict=True)
        # A grammar may leave fewer tokens than were asked for; the others have no probability at all.
        return tuple(self._token(i, p) for i, p in pairs if p > float("-inf"))

    def _note(self, step: Step) -> None:
        if self.job.step is None:
            self.tokens.append(step.token)
            if self.job.request.top_n_tokens:
                self.top_tokens.append(step.top)
        elif self.finish is None:
            self.job.step(step)
        else:
            self._last = step

    def _token(self, token: int, logprob: float) -> Token:
        text = self.tokenizer.decode([token], clean_up_tokenization_spaces=False)
        return Token(token, text, logprob, token in self._special)
