"""The step that datatrove's executors run: a task's program, seen to its end."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping

from hub_tools.run.executors.folder import Folder
from hub_tools.run.executors.job import failed_name

TIMES = 3  # that a task may be killed, one time soon after the other
LONG = 600  # seconds that a program lived which was not killed soon
LOOK = 0.2  # seconds between two looks at the program
SHOWN = 2000  # characters of a program's last words


class TaskError(Exception):
    """A task failed; the folder says why."""


class Step:
    """A pipeline step of datatrove. What is killed is started anew; what fails raises.

    `environment` travels with the step, so it must stay empty where the step is written to a disk.
    """

    def __init__(self, folder: str, environment: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._environment = dict(environment or {})
        self._stopped = False

    def __repr__(self) -> str:
        return f"Step({self._folder!r})"

    def __call__(self, data: object, rank: int, world_size: int) -> None:
        """Do task `rank`.

        Raises:
            TaskError: it failed, or was killed again and again.
        """
        code, words, killed = -1, "", 0
        while code < 0 and killed < TIMES and not self._stopped:
            began = time.monotonic()
            code, words = self._program(rank)
            killed = 1 if time.monotonic() - began > LONG else killed + 1
        if code:
            self._tell(rank, code, words)
            raise TaskError(f"task {rank} ended with {code}")

    def stop(self) -> None:
        """End every program that this step has started in this process, and start none."""
        self._stopped = True

    def _program(self, rank: int) -> tuple[int, str]:
        """Run the program and return its exit status, or minus the signal that ended it, and its last
        words.
        """
        with tempfile.TemporaryFile("w+", errors="replace") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", "hub_tools.run.executors.task", self._folder, str(rank)],
                env={**os.environ, **self._environment},
                stdin=subprocess.PIPE,  # which closes with this process, and ends the program
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
            while process.poll() is None:
                if self._stopped:
                    process.kill()
                try:
                    process.wait(LOOK)
                except subprocess.TimeoutExpired:
                    continue
            said.seek(0)
            return process.returncode, said.read()[-SHOWN:]

    def _tell(self, rank: int, code: int, words: str) -> None:
        """Leave a reason for a failure whose program left none."""
        folder = Folder(self._folder)
        if self._stopped or folder.read(failed_name(rank)):
            return
        reason = f"was killed {TIMES} times (signal {-code}); has its machine too little memory?"
        if code > 0:
            last = words.strip().splitlines()[-1:] or ["it said nothing"]
            reason = f"ended with exit status {code}: {last[0]}"
        folder.write(failed_name(rank), reason.encode())
