"""Several processes for one training, started by `accelerate launch`, here or on a Slurm allocation."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from training import methods, slurm
from training.errors import NotCompiled, OutOfMemory, TrainingError
from training.events import StepEvent, Watcher
from training.job import Job
from training.publish import Base
from training.result import Trained
from training.settings import TrainSettings
from training.views import Pair

PROFILES = Path(__file__).parent / "accelerate"
JOB, PAIRS, RESULT = "job.json", "pairs.jsonl", "result.json"
LOG = "processes.log"
# How the log tells of a process that a signal ended: its machine, its number, the signal.
ENDED = re.compile(r"^ *host *: (\S+)\n *rank *: (\d+).*\n *exitcode *: -(\d+)", re.MULTILINE)
FOLLOWED = {signal.SIGTERM, signal.SIGABRT}  # how processes end because another one did


def launch(job: Job, watcher: Watcher) -> Trained:
    """Train `job` in as many processes as its settings say, and return what the first of them made.

    Raises OutOfMemory and TrainingError as a training in this process does; the processes end with this one.
    """
    job.newest_checkpoint()  # here, where nobody else looks: the processes find the folder as it must be
    folder = job.work / "job"
    write(job, folder)
    failures = []
    watcher.on_phase(f"starting {job.settings.processes} processes")
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
            elif "failure" in event:
                failures.append(event)
    result = folder / RESULT
    if process.returncode or not result.exists():
        raise _failure(failures, folder / LOG, process.returncode)
    return Trained.of(json.loads(result.read_text(encoding="utf-8")))


def write(job: Job, folder: Path) -> None:
    """Write a job as files that the processes read; the result of an earlier attempt is removed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RESULT).unlink(missing_ok=True)
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
    """Return the command that starts all processes: here, or on every machine that Slurm has allocated."""
    profile = PROFILES / f"{settings.sharding}.yaml"
    start = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(profile)]
    start += ["--num_processes", str(settings.processes)]
    worker = ["-m", "training.worker", str(folder)]
    if slurm.machines(environ) > 1:
        return slurm.on_every_machine(start, worker, environ)
    return [*start, "--main_process_port", "0", *worker, "--with-parent"]


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


def _failure(told: list[dict[str, Any]], log: Path, code: int) -> TrainingError:
    """Return what stopped the processes, memory before all else; most fail because another one did."""
    told = sorted(told, key=lambda failure: failure["time"])
    for kind in (OutOfMemory, NotCompiled, TrainingError):
        for failure in told:
            if failure["failure"] == kind.__name__:
                return kind(failure["message"])
    why = _ended(log) or [f"process {one['rank']} on {one['host']}: {one['message']}" for one in told]
    first = why[0] if why else f"the training's processes ended with code {code} and without a result"
    return TrainingError(f"{first}; see {log}, and start again to go on from the last checkpoint")


def _ended(log: Path) -> list[str]:
    """Return which processes were ended from outside, as the log has it."""
    found = ENDED.findall(log.read_text(encoding="utf-8", errors="replace"))
    names = {number.value: number.name for number in signal.Signals if number not in FOLLOWED}
    return [
        f"process {rank} on {host} was ended by {names[int(number)]}"
        + (", as happens where a machine's memory runs out" if int(number) == signal.SIGKILL else "")
        for host, rank, number in found
        if int(number) in names
    ]
