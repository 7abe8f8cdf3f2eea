"""A real Slurm, in a folder, without root; several nodes are this one machine too."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from getpass import getuser
from pathlib import Path

import pytest

NEEDED = ("slurmctld", "slurmd", "sbatch", "squeue", "srun", "scancel")
CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,batch_sched_delay=0
ReturnToService=2
KillWait=1
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory=2000\n"


def absent() -> list[str]:
    """Return the programs of Slurm that are not installed."""
    return [name for name in NEEDED if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")]


@contextmanager
def slurm(folder: Path, nodes: int = 1) -> Iterator[dict[str, str]]:
    """Run a cluster and give the environment in which Slurm's commands find it.

    The first node has this machine's name, which resolves; the others' names do not.
    """
    if missing := absent():
        pytest.fail(
            f'{", ".join(missing)} not found: apt-get install slurm-wlm, or leave these out: -m "not slurm"'
        )
    (folder / "state").mkdir(parents=True)
    host = socket.gethostname().partition(".")[0]
    names = [host, *(f"{host}-{number}" for number in range(2, nodes + 1))]
    for name in names:
        (folder / f"spool-{name}").mkdir()
    config = folder / "slurm.conf"
    content = CONFIG.format(host=host, controller=_free_port(), user=getuser(), folder=folder)
    for name in names:
        content += NODE.format(name=name, host=host, port=_free_port(), cpus=os.cpu_count())
    config.write_text(content)
    environment = {"SLURM_CONF": str(config), "PATH": f"{os.environ['PATH']}:/usr/sbin"}
    daemons = []
    try:
        for name, *options in (["slurmctld"], *(["slurmd", "-N", node] for node in names)):
            command = [str(shutil.which(name, path=environment["PATH"])), "-D", *options]
            daemons.append(
                subprocess.Popen(
                    command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
            )
        _wait_for_node(environment, folder)
        yield environment
        subprocess.run(["scancel", "--user", getuser()], env=environment, check=False)
        time.sleep(1)
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(20)


def queued(environment: dict[str, str]) -> list[tuple[str, str]]:
    """Return the job id and state of each task in the queue."""
    command = ["squeue", "--noheader", "--array", "--format=%i %T"]
    listed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return [(line.split()[0], line.split()[1]) for line in listed.splitlines()]


def _wait_for_node(environment: dict[str, str], folder: Path) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        command = ["sinfo", "--noheader", "--format=%T"]
        state = subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout
        if set(state.split()) == {"idle"}:
            return
        time.sleep(0.2)
    logs = [path.read_text()[-1500:] for path in folder.glob("*.log")]
    raise AssertionError("Slurm did not start:\n" + "\n".join(logs))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
