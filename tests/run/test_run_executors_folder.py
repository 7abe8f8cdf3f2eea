"""A folder that tasks share: in a file system, and where there are only whole files."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from executor_support import wait_until

from hub_tools.errors import BackforthError
from hub_tools.run.executors.folder import Folder
from hub_tools.run.executors.job import Job
from hub_tools.run.executors.task import saved
from hub_tools.run.generation.journal import Journal


@pytest.fixture(params=["path", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    return Folder(str(tmp_path / "shared") if request.param == "path" else f"memory://{tmp_path}")


def test_what_one_writes_another_reads_lists_and_deletes(folder: Folder, tmp_path: Path) -> None:
    assert folder.read("a/b") is None
    assert folder.names("a") == set()
    folder.write("a/b", b"one")
    folder.write("a/b", b"two")
    folder.write("journals/j", b"kept")
    other = Folder(folder.address)
    assert other.read("a/b") == b"two"
    assert other.names("") == {"a", "journals"}
    assert other.below("a").names("") == {"b"}
    assert other.below("a").above().read("a/b") == b"two"
    other.clean()
    other.remove("a")
    assert folder.names("") == {"journals"}


def test_what_is_made_in_place_or_sent_can_be_fetched(folder: Folder, tmp_path: Path) -> None:
    place = folder.place("out/x", tmp_path / "here")
    place.parent.mkdir(parents=True)
    place.write_bytes(b"rows")
    folder.send(place, "out/x")
    assert folder.fetch("out/x", tmp_path / "there").read_bytes() == b"rows"
    assert folder.names("out") == {"x"}


def test_a_folder_without_a_job_is_named(folder: Folder) -> None:
    with pytest.raises(BackforthError, match="holds no job; is it the same folder on every machine"):
        Job.read(folder)


def test_a_journal_is_saved_while_it_is_written(tmp_path: Path) -> None:
    folder, path = Folder(f"memory://{tmp_path}"), tmp_path / "journal"
    journal = Journal(path)
    asyncio.run(journal.put(b"key", {"text": "answer"}))
    with saved(folder, path, "journals/j", every=0.01):
        wait_until(lambda: folder.read("journals/j"))
        asyncio.run(journal.put(b"other", {"text": "more"}))
        time.sleep(0.05)
    journal.close()
    copy = folder.fetch("journals/j", tmp_path / "copy")
    with closing(sqlite3.connect(copy)) as found:
        answers = dict(found.execute("SELECT key, value FROM answers"))
    assert json.loads(answers[b"key"]) == {"text": "answer"}
