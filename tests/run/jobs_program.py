"""The command line where Hugging Face Jobs are processes of this machine, since the real service costs money.

A Job gets what the real one gets: the script, its arguments, its environment and its secrets, nothing else.
The first Job is ended half-way, as the service does with one that overruns its time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub

from hub_tools.cli import main
from hub_tools.run.executors import scale

PASSED = ("PATH", "PYTHONPATH", "HF_ENDPOINT", "OMP_NUM_THREADS")
LOST, KILLED_AT = 1, 3  # the Job that is ended, and at which look, of which there is one a second
jobs: dict[str, subprocess.Popen[bytes]] = {}
asked: dict[str, int] = {}


def run_uv_job(script: str, *, script_args: list[str], env: Any, secrets: Any, **_: Any) -> SimpleNamespace:
    assert "ENDPOINT_TOKEN" not in env
    home = tempfile.mkdtemp(prefix="job-", dir=os.environ["JOBS_FOLDER"])
    given = {name: os.environ[name] for name in PASSED if name in os.environ}
    name = f"job-{len(jobs)}"
    with (Path(home) / "log").open("wb") as log:
        jobs[name] = subprocess.Popen(
            [sys.executable, script, *script_args],
            env={**given, "HOME": home, "HF_HOME": home, "TMPDIR": home, **env, **secrets},
            cwd=home,
            stdout=log,
            stderr=log,
        )
    return SimpleNamespace(id=name, url="")


def inspect_job(*, job_id: str, **_: Any) -> SimpleNamespace:
    asked[job_id] = asked.get(job_id, 0) + 1
    if job_id == f"job-{LOST}" and asked[job_id] == KILLED_AT:
        jobs[job_id].kill()
    code = jobs[job_id].poll()
    stage = {None: "RUNNING", 0: "COMPLETED"}.get(code, "ERROR")
    return SimpleNamespace(status=SimpleNamespace(stage=stage))


if __name__ == "__main__":
    vars(huggingface_hub).update(run_uv_job=run_uv_job, inspect_job=inspect_job)
    vars(scale)["HERE"] = ()  # these Jobs can reach an endpoint of this machine
    main()
