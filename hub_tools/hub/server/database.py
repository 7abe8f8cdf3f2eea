"""The SQLite file that holds everything but file contents: repos, commits, refs, collections."""

from __future__ import annotations

import sqlite3
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hub_tools.hub.server.errors import HubServerError

_FIRST = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE repos(
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, name TEXT NOT NULL,
    private INTEGER NOT NULL, gated TEXT NOT NULL DEFAULT '', created TEXT NOT NULL, UNIQUE(kind, name));
CREATE TABLE aliases(
    kind TEXT NOT NULL, name TEXT NOT NULL, repo_id INTEGER NOT NULL REFERENCES repos ON DELETE CASCADE,
    PRIMARY KEY(kind, name));
CREATE TABLE commits(
    repo_id INTEGER NOT NULL REFERENCES repos ON DELETE CASCADE, oid TEXT NOT NULL, parent TEXT,
    title TEXT NOT NULL, message TEXT NOT NULL, author TEXT NOT NULL, date TEXT NOT NULL, tree BLOB NOT NULL,
    PRIMARY KEY(repo_id, oid));
CREATE TABLE refs(
    repo_id INTEGER NOT NULL REFERENCES repos ON DELETE CASCADE, name TEXT NOT NULL, oid TEXT NOT NULL,
    message TEXT, PRIMARY KEY(repo_id, name));
CREATE TABLE collections(
    id TEXT PRIMARY KEY, namespace TEXT NOT NULL, title TEXT NOT NULL, body TEXT NOT NULL,
    UNIQUE(namespace, title));
"""

_DISCUSSIONS_AND_ACCESS = """
CREATE TABLE discussions(
    repo_id INTEGER NOT NULL REFERENCES repos ON DELETE CASCADE, number INTEGER NOT NULL, title TEXT NOT NULL,
    author TEXT NOT NULL, created TEXT NOT NULL, status TEXT NOT NULL,
    base TEXT, merged TEXT, PRIMARY KEY(repo_id, number));
CREATE TABLE events(
    id TEXT PRIMARY KEY, repo_id INTEGER NOT NULL, number INTEGER NOT NULL, type TEXT NOT NULL,
    author TEXT NOT NULL, created TEXT NOT NULL, data TEXT NOT NULL,
    FOREIGN KEY(repo_id, number) REFERENCES discussions ON DELETE CASCADE);
CREATE INDEX events_of_discussion ON events(repo_id, number);
CREATE TABLE access_requests(
    id TEXT PRIMARY KEY, repo_id INTEGER NOT NULL REFERENCES repos ON DELETE CASCADE, user TEXT NOT NULL,
    status TEXT NOT NULL, created TEXT NOT NULL, reason TEXT, UNIQUE(repo_id, user));
INSERT INTO discussions
    SELECT repo_id, CAST(substr(name, 9) AS INTEGER), title, author, date, 'open', 'refs/heads/main', NULL
    FROM refs JOIN commits USING (repo_id, oid) WHERE name LIKE 'refs/pr/%';
"""

# Until here every object could be named by every repo; from here on a repo holds those that it names.
_OBJECTS = """
CREATE TABLE objects(
    repo_id INTEGER NOT NULL REFERENCES repos ON DELETE CASCADE, sha256 TEXT NOT NULL,
    PRIMARY KEY(repo_id, sha256)) WITHOUT ROWID;
INSERT OR IGNORE INTO objects
    SELECT repo_id, json_extract(entry.value, '$[2]') FROM commits, json_each(inflated(tree)) AS entry
    WHERE json_extract(entry.value, '$[3]');
"""

_ATTACHMENTS = """
CREATE TABLE attachments(
    name TEXT PRIMARY KEY, sha256 TEXT NOT NULL, size INTEGER NOT NULL,
    user TEXT NOT NULL, created TEXT NOT NULL);
"""

# Each step leads from one version to the next; a new store takes all of them.
_STEPS = (_FIRST, _DISCUSSIONS_AND_ACCESS, _OBJECTS, _ATTACHMENTS)
SCHEMA_VERSION = len(_STEPS)


class Database:
    """One connection a thread; readers see one snapshot, writers take turns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._turn = threading.Lock()
        self._create()

    def _create(self) -> None:
        try:
            version = self._connection().execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.DatabaseError as error:
            raise HubServerError(f"{self._path} cannot be opened as a Hub's database: {error}") from error
        if version > SCHEMA_VERSION:
            raise HubServerError(
                f"{self._path} was written by a later version (schema {version}); update backforth."
            )
        if version < SCHEMA_VERSION:
            steps = "".join(_STEPS[version:])
            self._connection().create_function("inflated", 1, lambda tree: zlib.decompress(tree).decode())
            script = f"BEGIN IMMEDIATE; {steps} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
            self._connection().executescript(script)

    def _connection(self) -> sqlite3.Connection:
        existing: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if existing is not None:
            return existing
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=30, check_same_thread=False)
        # FULL makes an answered commit survive a power cut as well as a kill.
        connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;")
        self._local.connection = connection
        return connection

    def close(self) -> None:
        """Close this thread's connection; the last one of all folds the write-ahead log into the file."""
        self._connection().close()
        del self._local.connection

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Read inside one snapshot, so that a ref and its tree belong together."""
        with _transaction(self._connection(), "BEGIN") as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Change the database in one transaction: all of the block or nothing of it."""
        with self._turn, _transaction(self._connection(), "BEGIN IMMEDIATE") as connection:
            yield connection

    def constant(self, key: str, fresh: str) -> str:
        """Return the store's value for `key`, which is `fresh` if it had none yet."""
        with self.write() as db:
            db.execute("INSERT OR IGNORE INTO meta VALUES(?, ?)", (key, fresh))
            return str(db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()[0])

    def replace_constant(self, key: str, value: str) -> None:
        """Give `key` another value."""
        with self.write() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES(?, ?)", (key, value))


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Iterator[sqlite3.Connection]:
    connection.execute(begin)
    try:
        yield connection
        connection.execute("COMMIT")
    finally:
        # On a full disk SQLite may or may not have rolled back by itself.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
