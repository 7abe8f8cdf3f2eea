"""Several processes for one training, started by `accelerate launch`, here or on a Slurm allocation."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from training import methods
from training.errors import NotCompiled, OutOfMemory, TrainingError
from training.events import StepEvent, Watcher
from training.job import Job
from training.publish import Base
from training.result import Trained
from training.settings import TrainSettings
from training.views import Pair

PROFILES = Path(__file__).parent / "accelerate"
JOB, PAIRS, RESULT, FAILURE = "job.json", "pairs.jsonl", "result.json", "failure-{rank}.json"
LOG = "processes.log"


def launch(job: Job, watcher: Watcher) -> Trained:
    """Train `job` in as many processes as its settings say, and return what the first of them made.

    Raises OutOfMemory and TrainingError as a training in this process does; the processes end with this one.
    """
    job.newest_checkpoint()  # here, where nobody else looks: the processes find the folder as it must be
    folder = job.work / "job"
    write(job, folder)
    with (folder / LOG).open("wb") as log, _started(command(job.settings, folder), log) as process:
        assert process.stdout
        for line in process.stdout:
            event = _event(line)
            if "step" in event:
                watcher.on_step(StepEvent(**event))
            elif "note" in event:
                watcher.on_note(event["note"])
            elif "phase" in event:
                watcher.on_phase(event["phase"])
    result = folder / RESULT
    if process.returncode or not result.exists():
        raise _failure(folder, process.returncode)
    return Trained.of(json.loads(result.read_text(encoding="utf-8")))


def write(job: Job, folder: Path) -> None:
    """Write a job as files that the processes read; those of an earlier attempt are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in (folder / RESULT, *folder.glob(FAILURE.format(rank="*"))):
        old.unlink(missing_ok=True)
    content = {
        "settings": job.settings.everything(),
        "base": {**asdict(job.base), "path": str(job.base.path)},
        "work": str(job.work),
        "threads": job.threads,
    }
    (folder / JOB).write_text(json.dumps(content), encoding="utf-8")
    lines = [json.dumps(asdict(pair)) + "\n" for pair in job.pairs]
    (folder / PAIRS).write_text("".join(lines), encoding="utf-8")


def read(folder: Path, processes: int) -> Job:
    """Read what `write` wrote, as one of so many processes."""
    content: dict[str, Any] = json.loads((folder / JOB).read_text(encoding="utf-8"))
    settings = TrainSettings(**content["settings"]).model_copy(update={"processes": processes})
    with (folder / PAIRS).open(encoding="utf-8") as lines:
        pairs = [Pair(**json.loads(line)) for line in lines]
    base = Base(**content["base"] | {"path": Path(content["base"]["path"])})
    return Job(settings, pairs, base, Path(content["work"]), content["threads"])


def command(settings: TrainSettings, folder: Path, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the command that starts all processes: here, or through srun on every allocated machine."""
    profile = PROFILES / f"{settings.sharding}.yaml"
    start = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(profile)]
    start += ["--num_processes", str(settings.processes)]
    worker = ["-m", "training.worker", str(folder)]
    machines = int(environ.get("SLURM_NNODES", "1"))
    if machines == 1:
        return [*start, "--main_process_port", "0", *worker, "--with-parent"]
    if settings.processes % machines:
        raise TrainingError(
            f"{settings.processes} processes cannot be spread evenly over {machines} machines; set processes "
            f"to a multiple of {machines}"
        )
    rendezvous = f"--num_machines {machines} --main_process_ip {shlex.quote(environ['SLURMD_NODENAME'])}"
    port = 29500 + int(environ.get("SLURM_JOB_ID", "0")) % 1000  # several jobs may share a machine
    each = f"exec {shlex.join(start)} {rendezvous} --machine_rank $SLURM_NODEID --main_process_port {port}"
    return [
        "srun",
        "--ntasks-per-node=1",
        "--kill-on-bad-exit=1",
        "bash",
        "-c",
        f"{each} {shlex.join(worker)}",
    ]


@contextlib.contextmanager
def _started(arguments: list[str], log: Any) -> Iterator[subprocess.Popen[str]]:
    """Start the processes; they read this one's end of a pipe, and end when it closes."""
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    environ |= {"ACCELERATE_USE_CPU": "true"} if methods.device() == "cpu" else {}
    environ |= {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env=environ,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
        process.wait()
    finally:
        if process.poll() is None:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """End the processes: they have half a minute to write what they are writing."""
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _event(line: str) -> dict[str, Any]:
    """Return the event in a line of output, or nothing: libraries write there too."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _failure(folder: Path, code: int) -> TrainingError:
    """Return what stopped the processes: the first that told why, memory before all else."""
    told = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob(FAILURE.format(rank="*"))]
    for kind in (OutOfMemory, NotCompiled, TrainingError):
        for failure in sorted(told, key=lambda failure: failure["time"]):
            if failure["kind"] == kind.__name__:
                return kind(failure["message"])
    return TrainingError(
        f"the training's processes ended with code {code} and without a result; see {folder / LOG}, and "
        "start again to go on from the last checkpoint"
    )
