"""The journal: torn tails, damage, full disks, two runs at once, and memory that does not grow."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from run_support import ROOT

from hub_tools.errors import BackforthError
from hub_tools.run.generation.journal import Journal


def keys(first: int, last: int) -> list[bytes]:
    return [f"{n:032x}".encode() for n in range(first, last)]


def fill(journal: Journal, first: int, last: int, size: int = 10) -> None:
    async def put() -> None:
        await asyncio.gather(*(journal.put(key, {"text": "x" * size}) for key in keys(first, last)))

    asyncio.run(put())


def test_two_runs_cannot_write_one_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    with pytest.raises(BackforthError, match=r"another run writes the journal .*; wait for it, or end it"):
        Journal(tmp_path / "j")
    journal.close()
    Journal(tmp_path / "j").close()


@pytest.mark.parametrize("torn", [1, 100, 4000, 9000])
def test_a_torn_tail_costs_only_what_was_in_it(tmp_path: Path, torn: int) -> None:
    journal = Journal(tmp_path / "j")
    fill(journal, 0, 20)
    fill(journal, 20, 40)
    for name in ("j", "j-wal"):
        shutil.copy(tmp_path / name, tmp_path / f"copy{name[1:]}")
    journal.close()
    tail = tmp_path / "copy-wal"
    tail.write_bytes(tail.read_bytes()[:-torn])
    found = Journal(tmp_path / "copy")
    known = found.get(keys(0, 40))
    assert sorted(known) in ([], keys(0, 20))
    fill(found, 0, 40)
    assert found.get(keys(39, 40)) == {keys(39, 40)[0]: {"text": "x" * 10}}
    found.close()


def test_a_damaged_journal_is_named(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    fill(journal, 0, 2000, size=100)
    journal.close()
    content = bytearray((tmp_path / "j").read_bytes())
    content[4096:-4096] = b"\xff" * (len(content) - 8192)
    (tmp_path / "j").write_bytes(content)
    told = r"the journal .* cannot be used: .*; delete it to ask again"
    with pytest.raises(BackforthError, match=told), closing(Journal(tmp_path / "j")) as found:
        found.get(keys(0, 2000))


def test_a_full_disk_is_named_and_what_was_written_stays(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    fill(journal, 0, 10)
    pages = journal._file.execute("PRAGMA page_count").fetchone()[0]
    journal._file.execute(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(BackforthError, match=r"cannot be written: .* full; what it holds is safe, run again"):
        fill(journal, 10, 200, size=1000)
    journal._file.execute("PRAGMA max_page_count = 1000000")
    fill(journal, 10, 20)
    assert sorted(journal.get(keys(0, 20))) == keys(0, 20)
    journal.close()


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    program = """
import asyncio, resource, sys
from pathlib import Path
from hub_tools.run.generation.journal import Journal

async def fill(journal, count):
    for start in range(0, count, 500):
        some = [f"{n:032x}".encode() for n in range(start, start + 500)]
        await asyncio.gather(*(journal.put(key, {"text": "y" * 3000}) for key in some))
        assert len(journal.get(some)) == 500

peaks = []
for count in (1000, 10_000):
    asyncio.run(fill(Journal(Path(sys.argv[1]) / str(count)), count))
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(peaks[1] - peaks[0])
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        env={"PYTHONPATH": str(ROOT)}, cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(done.stdout) < 12_000
