"""The journal: every answer of an endpoint is on disk before it counts, under the key of its request.

SQLite in WAL mode with full syncs: a torn write is undone at the next opening, and a million answers need no
memory.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

from hub_tools.errors import BackforthError


class Journal:
    """Answers by request key. `put` returns when the answer is durable; answers that wait together share one
    sync.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS answers(key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID"
            )
        except sqlite3.DatabaseError as error:
            raise BackforthError(
                f"the journal {path} cannot be used: {error}; delete it to ask again"
            ) from error
        self._waiting: list[tuple[str, str]] = []
        self._flush: asyncio.Task[None] | None = None

    def get(self, key: str) -> dict[str, Any] | None:
        """Return the answer under a key, or None."""
        found = self._database.execute("SELECT value FROM answers WHERE key = ?", (key,)).fetchone()
        return dict(json.loads(found[0])) if found else None

    async def put(self, key: str, value: dict[str, Any]) -> None:
        """Store an answer and return once it is on disk.

        Raises:
            BackforthError: it cannot be written (a full disk, for one); earlier answers are safe.
        """
        self._waiting.append((key, json.dumps(value, ensure_ascii=False)))
        while any(waiting == key for waiting, _ in self._waiting):
            if self._flush is None or self._flush.done():
                self._flush = asyncio.create_task(self._write())
            await asyncio.shield(self._flush)

    async def _write(self) -> None:
        batch = list(self._waiting)
        try:
            await asyncio.to_thread(self._commit, batch)
        except sqlite3.Error as error:
            raise BackforthError(
                f"the journal cannot be written: {error}; what it holds is safe, run again"
            ) from error
        finally:
            del self._waiting[: len(batch)]

    def _commit(self, batch: list[tuple[str, str]]) -> None:
        self._database.execute("BEGIN")
        try:
            self._database.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", batch)
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        self._database.close()
