"""Keeps two runs from working on one node at once."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hub_tools.errors import BackforthError


@contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """Hold the lock of a work folder; the system lets go of it however the process ends.

    Raises:
        BackforthError: another run holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise BackforthError(
                f"another run (process {holder}) works on {what}; wait for it, or end it"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
