"""The running batch: prefill joins rows to it, one decode step moves every row on by a token."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from hub_tools.endpoints.server.cache import SlotCache
from hub_tools.endpoints.server.errors import GenerationError, RequestError
from hub_tools.endpoints.server.model import LoadedModel
from hub_tools.endpoints.server.placement import works
from hub_tools.endpoints.server.rows import Row
from hub_tools.endpoints.server.sampling import Choice

logger = logging.getLogger(__name__)

_WASTE = 0.75  # below this share of columns that any row still needs, the cache is compacted


class RunningBatch:
    """Rows that decode together. Each row sees only its own columns of the shared cache, by its mask."""

    def __init__(self, model: LoadedModel) -> None:
        self.model = model
        self.rows: list[Row] = []
        self._cache = SlotCache(model.network.config.get_text_config(decoder=True).num_hidden_layers)
        self._mask = torch.zeros((0, 0), dtype=torch.bool, device=model.device)

    def prefill(self, rows: Sequence[Row]) -> list[tuple[Row, RequestError]]:
        """Read prompts and choose each first token; rows that want more join. Returns those that failed.

        What the model raises while it reads (out of memory, mostly) is the trouble of these rows only, unless
        its device is lost.
        """
        try:
            cache, logits = self._read_prompts(rows)
        except RuntimeError as error:
            if not works(self.model.device):
                raise
            logger.exception("prompts could not be read")
            return [(row, GenerationError.of(error)) for row in rows]
        failed = _accept(rows, logits[:, -1])
        for number, row in enumerate(rows):
            if row.job.request.prefill_logprobs:
                row.note_prefill(logits[number, -len(row.job.request.prompt) :])
            if row.finish is None and row not in failed:
                self._join(cache, number, row)
        return list(failed.items())

    def step(self) -> list[tuple[Row, RequestError]]:
        """One forward pass: every row gets its next token. Returns the rows that failed."""
        self._make_room()
        self._mask[:, self._cache.extent.columns] = True
        used = self._mask[:, : self._cache.extent.columns + 1]
        filler = [0] * (self.model.width(len(self.rows)) - len(self.rows))
        logits = self.model.forward(
            self._column([row.ids[-1] for row in self.rows] + filler),
            None if bool(used.all()) else used[:, None, None, :],
            self._column([row.length - 1 for row in self.rows] + filler),
            self._cache,
            [row.job.request.adapter for row in self.rows] + [None for _ in filler],
            starts=used.int().argmax(-1).tolist() if self.model.steady else None,
        )[: len(self.rows)]
        self._cache.advance()
        return list(_accept(self.rows, logits[:, -1]).items())

    def leave(self, rows: Iterable[Row]) -> None:
        """Free the slots of these rows."""
        for row in rows:
            place = self.rows.index(row)
            self._cache.leave(place)
            self._mask[place] = self._mask[len(self.rows) - 1]
            self._mask = self._mask[:-1]
            self.rows[place] = self.rows[-1]
            self.rows.pop()

    def _read_prompts(self, rows: Sequence[Row]) -> tuple[Any, torch.Tensor]:
        from transformers import DynamicCache

        prompts = [row.job.request.prompt for row in rows]
        longest = max(map(len, prompts))
        device = self.model.device
        ids = torch.tensor([(0,) * (longest - len(prompt)) + prompt for prompt in prompts], device=device)
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=device).unsqueeze(1)
        positions = torch.arange(longest, device=device) - (longest - lengths)
        mask = (positions >= 0).long() if len(set(map(len, prompts))) > 1 else None
        cache = DynamicCache()
        logits = self.model.forward(
            ids,
            mask,
            positions.clamp(min=0),
            cache,
            [row.job.request.adapter for row in rows],
            every_position=any(row.job.request.prefill_logprobs for row in rows),
        )
        return cache, logits

    def _column(self, values: Sequence[int]) -> torch.Tensor:
        return torch.tensor(values, device=self.model.device).unsqueeze(1)

    def _join(self, cache: Any, number: int, row: Row) -> None:
        length = len(row.job.request.prompt)
        if self.rows and length > self._cache.extent.columns:
            self._shift(length - self._cache.extent.columns)
        first = self._cache.join(cache, number, length)
        self._widen(self._cache.extent.columns)
        own = torch.zeros((1, self._mask.shape[1]), dtype=torch.bool, device=self.model.device)
        own[0, first : first + length] = True
        self._mask = torch.cat([self._mask, own])
        self.rows.append(row)

    def _shift(self, columns: int) -> None:
        """Keep every row's columns in one piece that ends with the batch's last."""
        used = self._mask[:, : self._cache.extent.columns].clone()
        self._cache.shift(columns)
        self._widen(self._cache.extent.columns)
        self._mask[:, :columns] = False
        self._mask[:, columns : self._cache.extent.columns] = used

    def _make_room(self) -> None:
        columns = self._cache.extent.columns
        live = self._mask[:, :columns].any(0)
        if int(live.sum()) < _WASTE * columns:
            kept = live.nonzero().squeeze(-1)
            self._cache.compact(kept)
            self._mask[:, : len(kept)] = self._mask[:, kept]
            self._mask[:, len(kept) :] = False
        self._widen(self._cache.extent.columns + 1)

    def _widen(self, columns: int) -> None:
        missing = columns - self._mask.shape[1]
        if missing > 0:
            shape = (self._mask.shape[0], missing + columns // 2)
            more = torch.zeros(shape, dtype=torch.bool, device=self.model.device)
            self._mask = torch.cat([self._mask, more], dim=1)


def _accept(rows: Sequence[Row], logits: torch.Tensor) -> dict[Row, RequestError]:
    """Give every row its next token; logits are (rows, vocabulary). One row's trouble stays its own."""
    largest = logits.argmax(-1).tolist()
    failed: dict[Row, RequestError] = {}
    for number, row in enumerate(rows):
        try:
            if row.sampler.plain:
                row.accept(Choice(largest[number], None))
            else:
                row.accept(row.sampler.choose(logits[number]))
        except (ValueError, RuntimeError, IndexError) as error:
            failed[row] = GenerationError.of(error)
    return failed
