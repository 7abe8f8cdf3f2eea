"""Writes records to Parquet shards as they come; memory holds one batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hub_tools.columns import arrow_schema, to_columns

BATCH = 1000
SHARD_BYTES = 500_000_000


class ShardWriter:
    """Writes one config: `add` rows, then `close` to get the shards by their path in the repo.

    A shard ends at about 500 MB. An empty config still gets one shard, with its columns and no row group.
    """

    def __init__(self, folder: Path, config: str, record: type) -> None:
        self.config = config
        self.record = record
        self.rows = 0
        self._folder = folder / config
        self._folder.mkdir(parents=True, exist_ok=True)
        self._schema = arrow_schema(record)
        self._batch: list[dict[str, Any]] = []
        self._shards: list[Path] = []
        self._writer: Any = None

    def add(self, row: Any) -> None:
        """Take one row."""
        self._batch.append(to_columns(row))
        self.rows += 1
        if len(self._batch) >= BATCH:
            self._write()

    def close(self) -> dict[str, Path]:
        """Finish the last shard and return all of them."""
        if self._batch or not self._shards:
            self._write()
        self._end_shard()
        total = len(self._shards)
        return {
            f"data/{self.config}/train-{index:05d}-of-{total:05d}.parquet": path
            for index, path in enumerate(self._shards)
        }

    def _write(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._writer is None:
            self._shards.append(self._folder / f"{len(self._shards):05d}.parquet")
            self._writer = pq.ParquetWriter(self._shards[-1], self._schema, compression="zstd")
        if self._batch:  # datasets cannot read a row group without rows
            self._writer.write_table(pa.Table.from_pylist(self._batch, schema=self._schema))
        self._batch = []
        if self._shards[-1].stat().st_size >= SHARD_BYTES:
            self._end_shard()

    def _end_shard(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
