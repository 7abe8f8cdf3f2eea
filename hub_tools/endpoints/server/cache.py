"""Keys and values of the running batch: rows join and leave without copying the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

_SPARE_COLUMNS = 128


@dataclass
class Extent:
    """The part of every layer's buffer that is in use, shared by all layers of a cache."""

    rows: int = 0
    columns: int = 0


class SlotLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values, (rows, heads, columns, size), in buffers with room to grow.

    transformers' own layer grows by concatenation, which copies the whole cache for every token.
    """

    def __init__(self, extent: Extent) -> None:
        super().__init__()
        self.extent = extent

    def get_seq_length(self) -> int:
        """Columns in use before the current forward pass."""
        return self.extent.columns

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new columns behind those in use; the extent itself is advanced by `SlotCache.advance`."""
        start, end = self.extent.columns, self.extent.columns + key_states.shape[-2]
        self.reserve(key_states, self.extent.rows, end)
        views = []
        for buffer, states in ((self.keys, key_states), (self.values, value_states)):
            # Rows past the extent's only fill the batch up.
            buffer[: self.extent.rows, :, start:end] = states[: self.extent.rows]
            views.append(buffer[: self.extent.rows, :, :end])
        return views[0], views[1]

    def reserve(self, like: torch.Tensor, rows: int, columns: int) -> None:
        """Make the buffers at least `rows` by `columns`, keeping what is in use."""
        if self.keys is not None and self.keys.shape[0] >= rows and self.keys.shape[2] >= columns:
            return
        old_rows, old_columns = (0, 0) if self.keys is None else (self.keys.shape[0], self.keys.shape[2])
        shape = (
            max(rows, old_rows),
            like.shape[1],
            max(columns + _SPARE_COLUMNS, old_columns),
            like.shape[3],
        )
        for name in ("keys", "values"):
            # Unused columns are masked, yet 0 * inf is nan: what is not written yet has to be finite.
            grown = like.new_zeros(shape)
            if getattr(self, name) is not None:
                used = (slice(self.extent.rows), slice(None), slice(self.extent.columns))
                grown[used] = getattr(self, name)[used]
            setattr(self, name, grown)
        self.is_initialized = True


class SlotCache(Cache):  # type: ignore[misc]
    """The cache of a batch whose rows come and go; masks say which columns belong to which row."""

    def __init__(self, layers: int) -> None:
        self.extent = Extent()
        super().__init__(layers=[SlotLayer(self.extent) for _ in range(layers)])

    def advance(self) -> None:
        """Count the column that the last forward pass wrote."""
        self.extent.columns += 1

    def join(self, prefilled: Cache, row: int, length: int) -> int:
        """Copy the last `length` columns of a prefilled row to a new last row; returns their first column."""
        end = max(self.extent.columns, length)
        for mine, other in zip(self.layers, prefilled.layers, strict=True):
            mine.reserve(other.keys, self.extent.rows + 1, end)
            mine.keys[self.extent.rows, :, end - length : end] = other.keys[row, :, -length:]
            mine.values[self.extent.rows, :, end - length : end] = other.values[row, :, -length:]
        self.extent.rows += 1
        self.extent.columns = end
        return end - length

    def shift(self, columns: int) -> None:
        """Move all rows to the right, so that a longer one can join and all still end in the same column."""
        rows, old = self.extent.rows, self.extent.columns
        for layer in self.layers:
            layer.reserve(layer.keys, rows, old + columns)
            for buffer in (layer.keys, layer.values):
                buffer[:rows, :, columns : old + columns] = buffer[:rows, :, :old].clone()
        self.extent.columns += columns

    def leave(self, row: int) -> None:
        """Drop a row; the last row takes its place."""
        last = self.extent.rows - 1
        if row != last:
            used = slice(self.extent.columns)
            for layer in self.layers:
                layer.keys[row, :, used] = layer.keys[last, :, used]
                layer.values[row, :, used] = layer.values[last, :, used]
        self.extent.rows = last
        if last == 0:
            self.extent.columns = 0

    def compact(self, columns: torch.Tensor) -> None:
        """Keep only these columns (a sorted index), in every row."""
        kept = len(columns)
        for layer in self.layers:
            for buffer in (layer.keys, layer.values):
                buffer[: self.extent.rows, :, :kept] = buffer[: self.extent.rows, :, columns]
        self.extent.columns = kept
