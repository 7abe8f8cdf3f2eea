"""The journal: every answer of an endpoint is on disk before it counts, under the key of its request.

SQLite in WAL mode with full syncs: a torn write is undone at the next opening, and a million answers need no
memory. Writing goes on in the event loop: a thread costs more to wake than most disks need for a sync, and on
a slow one every answer would have to wait for it all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import sqlite3
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from hub_tools.encoding import decode, encode
from hub_tools.errors import BackforthError

SELECT = "SELECT key, value FROM answers WHERE key IN"
INSERT = "INSERT OR REPLACE INTO answers VALUES "
AT_ONCE = 1000  # answers by one statement


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
            self._file = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._file.execute("PRAGMA page_size=8192")  # two or three answers a page: a third less on disk
            self._file.execute("PRAGMA journal_mode=WAL")
            self._file.execute("PRAGMA synchronous=FULL")
            self._file.execute("CREATE TABLE IF NOT EXISTS answers(key BLOB PRIMARY KEY, value BLOB)")
            self._file.execute("CREATE TABLE IF NOT EXISTS marks(name TEXT PRIMARY KEY, value TEXT)")
            self._file.execute("SELECT key, value FROM answers LIMIT 1").fetchone()
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        self._waiting: list[tuple[bytes, bytes, asyncio.Future[None]]] = []
        self._mark: tuple[str, str] | None = None

    def get(self, keys: Sequence[bytes]) -> dict[bytes, dict[str, Any]]:
        """Return the answers under these keys, some thousand at most; a key without one is left out.

        Raises:
            BackforthError: the file is damaged.
        """
        try:
            found = self._file.execute(f"{SELECT} ({', '.join('?' * len(keys))})", keys)
            return {key: dict(decode(value)) for key, value in found}
        except (sqlite3.Error, ValueError) as error:
            raise self._unusable(error) from error

    def mark(self, name: str) -> str | None:
        """Return the mark of that name, or None."""
        try:
            found = self._file.execute("SELECT value FROM marks WHERE name = ?", (name,)).fetchone()
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        return str(found[0]) if found else None

    def set_mark(self, name: str, value: str) -> None:
        """Set a mark; it is written with the next answers, or at the end."""
        self._mark = (name, value)

    async def put(self, key: bytes, value: Mapping[str, Any]) -> None:
        """Store an answer and return once it is on disk.

        Raises:
            BackforthError: it cannot be written (a full disk, for one); earlier answers are safe.
        """
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._write)
        written = loop.create_future()
        self._waiting.append((key, encode(value), written))
        await written

    def _write(self) -> None:
        """Write all that came to wait since the last time, with one sync."""
        batch, mark = self._waiting, self._mark
        self._waiting, self._mark = [], None
        failure = None
        try:
            self._commit([(key, value) for key, value, _ in batch], mark)
        except sqlite3.Error as error:
            what = f"the journal {self._path} cannot be written: {error}"
            failure = BackforthError(f"{what}; what it holds is safe, run again")
        for _, _, written in batch:
            if failure and not written.done():
                written.set_exception(failure)
            elif not written.done():  # who waited for it may have been cancelled
                written.set_result(None)

    def _commit(self, batch: Sequence[tuple[bytes, bytes]], mark: tuple[str, str] | None) -> None:
        self._file.execute("BEGIN IMMEDIATE")
        try:
            for at in range(0, len(batch), AT_ONCE):
                some = batch[at : at + AT_ONCE]
                self._file.execute(INSERT + ", ".join(["(?, ?)"] * len(some)), [*chain(*some)])
            if mark:
                self._file.execute("INSERT OR REPLACE INTO marks VALUES (?, ?)", mark)
            self._file.execute("COMMIT")
        except BaseException:
            if self._file.in_transaction:
                self._file.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(sqlite3.Error):  # a mark saves time, and nothing else
            if self._mark:
                self._commit([], self._mark)
        self._file.close()
        self._lock.close()

    def _unusable(self, error: Exception) -> BackforthError:
        return BackforthError(f"the journal {self._path} cannot be used: {error}; delete it to ask again")
