"""Trainings on several machines that Slurm has allocated: what must hold there, and how they start."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from training.errors import TrainingError

SCRIPT = Path(__file__).parent / "accelerate" / "slurm.sh"


def machines(environ: Mapping[str, str] = os.environ) -> int:
    """Return over how many machines this allocation goes; 1 outside of Slurm."""
    return int(environ.get("SLURM_NNODES", "1"))


def check_allocation(processes: int, environ: Mapping[str, str] = os.environ) -> None:
    """Refuse processes that cannot be started from here on all machines.

    Raises:
        TrainingError: one line says why, and the way out.
    """
    if (times := int(environ.get("SLURM_STEP_NUM_TASKS", "1"))) > 1:
        raise TrainingError(
            f"srun has started this {times} times; start it once, without srun: it starts all its processes"
        )
    count = machines(environ)
    if processes % count:
        raise TrainingError(
            f"{processes} processes cannot be spread evenly over {count} machines; set processes to a "
            f"multiple of {count}"
        )
    if count > 1 and "SLURMD_NODENAME" not in environ:
        raise TrainingError(
            f"Slurm has allocated {count} machines, but this is none of them; start it with sbatch {SCRIPT}"
        )


def on_every_machine(
    launcher: Sequence[str], worker: Sequence[str], environ: Mapping[str, str] = os.environ
) -> list[str]:
    """Return the command that runs accelerate's launcher once on each machine, with all that the job has
    there, whatever else the job asks Slurm for; the first machine is this one.
    """
    count = machines(environ)
    port = 29500 + int(environ.get("SLURM_JOB_ID", "0")) % 1000  # several jobs may share a machine
    meet = ["--num_machines", str(count), "--main_process_ip", environ["SLURMD_NODENAME"]]
    meet += ["--main_process_port", str(port)]
    each = f"exec {shlex.join([*launcher, *meet])} --machine_rank $SLURM_NODEID {shlex.join(worker)}"
    return [
        *("env", "--unset=SLURM_GPUS_PER_TASK", "srun"),
        *(f"--nodes={count}", f"--ntasks={count}", "--ntasks-per-node=1"),
        *("--cpu-bind=none", "--export=ALL", "--kill-on-bad-exit=1"),
        *("bash", "-c", each),
    ]
