"""Tasks as array jobs of Slurm, which go on when the run that started them ends."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from datatrove.executor import SlurmPipelineExecutor  # type: ignore[import-untyped]

from hub_tools.errors import BackforthError
from hub_tools.run.executors.order import Order, settings_of

SETTINGS = settings_of(SlurmPipelineExecutor)
TIMES = 3  # that tasks which Slurm lost are launched again, none getting done
LOOK = 1.0  # seconds between two looks at the queue
UNREACHABLE = 60  # looks in a row that may fail
JOB = "slurm_job"


def check() -> None:
    """See whether this machine can launch jobs.

    Raises:
        BackforthError: it cannot.
    """
    if "SLURM_ARRAY_TASK_ID" in os.environ:
        raise BackforthError("--executor slurm launches array jobs; run it outside of one")
    if not shutil.which("sbatch"):
        raise BackforthError("--executor slurm needs the command sbatch; run on a machine of the cluster")


class Array(SlurmPipelineExecutor):  # type: ignore[misc]
    """The array job; what is not set is left to the cluster's own defaults."""

    def launch_merge_stats(self) -> None:
        """Launch nothing more: the run itself puts things together, and a failed array would leave this job
        waiting for ever.
        """

    def get_sbatch_args(self, max_array: int = 1) -> dict[str, Any]:
        """Return the directives that have a value, and those that are flags."""
        directives: dict[str, Any] = super().get_sbatch_args(max_array)
        return {name: value for name, value in directives.items() if value is not None}


def run(order: Order) -> None:
    """Launch what is not done, unless an earlier run's job still works on it, and wait.

    Raises:
        BackforthError: Slurm refuses the job, or does not answer.
    """
    try:
        missing, in_vain = len(order.missing()), 0
        while missing and in_vain < TIMES and not order.failed():
            before = missing
            _wait(order, _left(order) or _launch(order))
            missing = len(order.missing())
            in_vain = 0 if missing < before else in_vain + 1
    except KeyboardInterrupt as error:
        raise BackforthError(
            f"the tasks go on as Slurm's {order.note}; run again to wait for them, or end them with scancel"
        ) from error


def _left(order: Order) -> str | None:
    """Return the job that an earlier run left in the queue."""
    job = (order.folder.read(JOB) or b"").decode()
    return job if job and _states(job) else None


def _launch(order: Order) -> str:
    path = shlex.quote(str(Path(sys.executable).parent))
    settings = {
        "time": None,
        "partition": None,
        "qos": None,
        "mem_per_cpu_gb": 1,
        "env_command": f"export PATH={path}:$PATH",
        "job_name": order.name,
        **order.settings,
    }
    array = Array([order.step], **order.shared, **settings)
    try:
        array.run()
    except subprocess.CalledProcessError as error:
        raise BackforthError(
            f"Slurm refused the job (sbatch ended with {error.returncode}); the reason is above, and the "
            f"script is {order.folder.address}/datatrove/launch_script.slurm"
        ) from error
    order.folder.write(JOB, str(array.job_id).encode())
    return str(array.job_id)


def _wait(order: Order, job: str) -> None:
    """Wait until no task of a job is in the queue; once one failed, those that wait there need not begin."""
    failed = False
    while states := _states(job):
        told = ", ".join(f"{count} {state}" for state, count in sorted(Counter(states).items()))
        order.note = f"job {job}: {told}"
        if not failed and order.failed():
            failed = True
            subprocess.run(["scancel", "--state=PENDING", job], check=False, capture_output=True)
        time.sleep(LOOK)


def _states(job: str) -> list[str]:
    """Return the states of a job's tasks that are in the queue.

    Raises:
        BackforthError: Slurm does not answer.
    """
    command = ["squeue", "--noheader", "--array", "--format=%T", "--jobs", job]
    for _ in range(UNREACHABLE):
        asked = subprocess.run(command, check=False, capture_output=True, text=True)
        if asked.returncode == 0:
            return asked.stdout.split()
        if "Invalid job id" in asked.stderr:  # it ended a while ago
            return []
        time.sleep(LOOK)
    raise BackforthError(f"Slurm does not answer (squeue: {asked.stderr.strip()}); run again once it does")
