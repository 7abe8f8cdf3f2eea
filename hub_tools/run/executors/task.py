"""One task as a program of its own: asks for its rows and leaves shards. `FOLDER RANK`.

It ends with 0 when the task is done, and with 3 when it failed and says why in the folder.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Unpack

from hub_tools.columns import read_rows
from hub_tools.endpoints.server.parent import exit_with_parent
from hub_tools.errors import BackforthError
from hub_tools.records import Rejected, Row
from hub_tools.run.executors.folder import JOURNALS, Folder
from hub_tools.run.executors.job import (
    Done,
    Job,
    done_name,
    failed_name,
    input_name,
    journal_name,
    progress_name,
)
from hub_tools.run.generation.generate import Generator
from hub_tools.run.generation.journal import Journal
from hub_tools.run.publishing.parquet import ShardWriter
from hub_tools.stages.registry import News, get_stage

FAILED = 3
SAVED_EVERY = 300.0  # seconds between two copies of a journal that does not lie in a file system
TOLD_EVERY, TOLD_EVERY_FAR = 0.5, 30.0  # seconds, in a file system and elsewhere


def run_task(folder: Folder, rank: int) -> None:
    """Do one task of the folder's job, unless it is done.

    Raises:
        BackforthError: it cannot be done; what was answered is in its journal.
    """
    job = Job.read(folder)
    with tempfile.TemporaryDirectory() as scratch, _journal(folder, job, rank, Path(scratch)) as journal:
        if folder.read(done_name(rank)):
            return
        generator = job.generator(journal)
        shards = [
            folder.fetch(f"{input_name(rank)}/{name}", Path(scratch))
            for name in sorted(folder.names(input_name(rank)))
        ]

        def rows() -> Iterator[Row]:
            (read,) = get_stage(job.stage, "a task").reads.values()
            assert isinstance(read.kind, type)
            return read_rows(read.kind, shards, f"task {rank}")

        asyncio.run(generator.ask_all(rows(), Told(folder, rank)))
        _write(folder, rank, job, generator, rows(), Path(scratch))


class Told:
    """Counts a task's rows for whoever waits; implements `stages.registry.Tick`."""

    def __init__(self, folder: Folder, rank: int) -> None:
        self._folder = folder
        self._rank = rank
        self._every = TOLD_EVERY if folder.local else TOLD_EVERY_FAR
        self._told = time.monotonic()
        self._done = self._rejected = 0

    def __call__(self, done: int = 0, **news: Unpack[News]) -> None:
        """Add `done` and `rejected` rows, and tell of them now and then."""
        self._done += done
        self._rejected += news.get("rejected", 0)
        if time.monotonic() - self._told >= self._every:
            self._told = time.monotonic()
            self._folder.write(progress_name(self._rank), json.dumps([self._done, self._rejected]).encode())


@contextmanager
def _journal(folder: Folder, job: Job, rank: int, scratch: Path) -> Iterator[Journal]:
    """Open the task's journal; where another process does the same task, wait until it ends.

    A journal that does not lie in a file system is brought here, and back now and then and at the end.
    """
    above, name = folder.above(), journal_name(rank, job.tasks)
    path = above.place(name, scratch)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not above.local and Path(name).name in above.names(JOURNALS):
        above.fetch(name, scratch)
    with path.with_suffix(".claim").open("a") as claim:
        fcntl.flock(claim, fcntl.LOCK_EX)
        journal = Journal(path)
        try:
            with nullcontext() if above.local else saved(above, path, name):
                yield journal
        finally:
            journal.close()
            above.send(path, name)


@contextmanager
def saved(folder: Folder, path: Path, name: str, every: float = SAVED_EVERY) -> Iterator[None]:
    """Send a copy of a journal to the folder now and then, so that a lost machine costs little."""
    ended = threading.Event()

    def save() -> None:
        copy = path.with_suffix(".copy")
        while not ended.wait(every):
            with closing(sqlite3.connect(path)) as journal, closing(sqlite3.connect(copy)) as whole:
                journal.backup(whole)
            with suppress(OSError):  # the next one may get there
                folder.send(copy, name)

    thread = threading.Thread(target=save, name="journal", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _write(
    folder: Folder, rank: int, job: Job, generator: Generator, rows: Iterable[Row], scratch: Path
) -> None:
    """Write the task's shards, send them, and then say that it is done."""
    stage = get_stage(job.stage, "a task")
    assert isinstance(stage.writes, type)
    name = f"out/{rank:05d}"
    place = folder.place(name, scratch)
    kept = ShardWriter(place, stage.config_name, stage.writes)
    rejects = ShardWriter(place, "rejected", Rejected)
    for outcome in generator.outcomes(rows):
        (rejects if isinstance(outcome, Rejected) else kept).add(outcome)
    files: Mapping[str, Any] = {
        writer.config: [f"{name}/{path.relative_to(place).as_posix()}" for path in writer.close().values()]
        for writer in (kept, rejects)
    }
    for sent in (*files[kept.config], *files[rejects.config]):
        folder.send(folder.place(sent, scratch), sent)
    done = Done(kept=kept.rows, rejected=rejects.rows, spent=asdict(generator.spent), files=files)
    done.write(folder, rank)


def main() -> int:
    """Run the task that the command line names."""
    exit_with_parent()
    folder, rank = Folder(sys.argv[1]), int(sys.argv[2])
    try:
        run_task(folder, rank)
    except BackforthError as error:
        folder.write(failed_name(rank), str(error).encode())
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
