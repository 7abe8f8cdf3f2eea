"""Generation that is killed at random moments loses and doubles nothing, and repeats only what was in flight.

`BACKFORTH_KILLS=50` kills as often as that.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fault_server import FaultServer, serving
from run_support import ROOT

KILLS = int(os.environ.get("BACKFORTH_KILLS", "5"))
CONCURRENCY = 16
BETWEEN = 60  # requests from one kill to the next, on average


def start(server: FaultServer, folder: Path, rows: int) -> subprocess.Popen[bytes]:
    program = Path(__file__).with_name("generate_program.py")
    arguments = [server.url, folder / "journal", folder / "out", rows, CONCURRENCY]
    return subprocess.Popen(
        [sys.executable, str(program), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{program.parent}"},
    )


@pytest.mark.timeout(120 + 10 * KILLS)
def test_killed_generation_loses_and_doubles_no_row(tmp_path: Path) -> None:
    rows, moments, kills = BETWEEN * (KILLS + 1), random.Random(20240811), 0
    for name in ("calm", "killed"):
        (tmp_path / name).mkdir()
    with serving(seconds=0.02) as server:
        assert start(server, tmp_path / "calm", rows).wait() == 0
        needed = dict(server.requests)
    with serving(seconds=0.02) as server:
        while kills < KILLS:
            process = start(server, tmp_path / "killed", rows)
            goal = server.requests.total() + moments.randint(1, BETWEEN)
            while server.requests.total() < goal and process.poll() is None:
                time.sleep(0.0005)
            assert process.poll() is None, "the run ended before it could be killed"
            process.kill()
            process.wait()
            kills += 1
        assert start(server, tmp_path / "killed", rows).wait() == 0
        asked = dict(server.requests)
    assert (tmp_path / "killed" / "out").read_bytes() == (tmp_path / "calm" / "out").read_bytes()
    assert asked.keys() == needed.keys()
    assert 0 < sum(asked.values()) - sum(needed.values()) <= kills * CONCURRENCY
