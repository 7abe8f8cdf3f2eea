"""The journal: every answer of an endpoint is on disk before it counts, under the key of its request.

SQLite in WAL mode with full syncs: a torn write is undone at the next opening, and a million answers need no
memory. One connection writes, in a thread, and another reads, so that nobody waits for a sync.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hub_tools.errors import BackforthError


class Journal:
    """Answers by request key. `put` returns when the answer is durable; answers that wait together share one
    sync.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._lock = path.with_name(f"{path.name}.lock").open("a")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise BackforthError(f"another run writes the journal {path}; wait for it, or end it") from error
        try:
            self._writer = self._connect()
            self._writer.execute("PRAGMA journal_mode=WAL")
            self._writer.execute("PRAGMA synchronous=FULL")
            self._writer.execute("CREATE TABLE IF NOT EXISTS answers(key TEXT PRIMARY KEY, value TEXT)")
            self._writer.execute("CREATE TABLE IF NOT EXISTS marks(name TEXT PRIMARY KEY, value TEXT)")
            self._reader = self._connect()
            self._reader.execute("SELECT key, value FROM answers LIMIT 1").fetchone()
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        self._waiting: list[tuple[str, str]] = []
        self._mark: tuple[str, str] | None = None
        self._written: asyncio.Future[None] | None = None
        self._writing: asyncio.Task[None] | None = None

    def get(self, key: str) -> dict[str, Any] | None:
        """Return the answer under a key, or None.

        Raises:
            BackforthError: the file is damaged.
        """
        try:
            found = self._reader.execute("SELECT value FROM answers WHERE key = ?", (key,)).fetchone()
            return dict(json.loads(found[0])) if found else None
        except (sqlite3.Error, ValueError) as error:
            raise self._unusable(error) from error

    def mark(self, name: str) -> str | None:
        """Return the mark of that name, or None."""
        try:
            found = self._reader.execute("SELECT value FROM marks WHERE name = ?", (name,)).fetchone()
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        return str(found[0]) if found else None

    def set_mark(self, name: str, value: str) -> None:
        """Set a mark; it is written with the next answers, or at the end."""
        self._mark = (name, value)

    async def put(self, key: str, value: Mapping[str, Any]) -> None:
        """Store an answer and return once it is on disk.

        Raises:
            BackforthError: it cannot be written (a full disk, for one); earlier answers are safe.
        """
        self._waiting.append((key, json.dumps(value)))
        if self._written is None:
            self._written = asyncio.get_running_loop().create_future()
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        await asyncio.shield(self._written)

    async def _write(self) -> None:
        """Write what waits, and what came to wait meanwhile, until nothing does."""
        while self._written:
            batch, mark, written = self._waiting, self._mark, self._written
            self._waiting, self._mark, self._written = [], None, None
            try:
                await asyncio.to_thread(self._commit, batch, mark)
            except sqlite3.Error as error:
                what = f"the journal {self._path} cannot be written: {error}"
                written.set_exception(BackforthError(f"{what}; what it holds is safe, run again"))
            else:
                written.set_result(None)
        self._writing = None

    def _commit(self, batch: list[tuple[str, str]], mark: tuple[str, str] | None) -> None:
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            self._writer.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", batch)
            if mark:
                self._writer.execute("INSERT OR REPLACE INTO marks VALUES (?, ?)", mark)
            self._writer.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(sqlite3.Error):  # a mark saves time, and nothing else
            if self._mark:
                self._commit([], self._mark)
        self._reader.close()
        self._writer.close()
        self._lock.close()

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)

    def _unusable(self, error: Exception) -> BackforthError:
        return BackforthError(f"the journal {self._path} cannot be used: {error}; delete it to ask again")
