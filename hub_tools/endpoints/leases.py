"""What runs on hired hardware and who minds it, on disk: so that nothing is left running unseen."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Literal

from hub_tools.errors import BackforthError

AtEnd = Literal["pause", "down"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """An endpoint that costs `per_hour` dollars since `started` (Unix time), until a run's end or, where
    `at_end` is None, until a person ends it.
    """

    name: str
    namespace: str
    per_hour: float
    at_end: AtEnd | None
    by: str
    started: float = field(default_factory=time.time)
    host: str = field(default_factory=socket.gethostname)
    process: int = field(default_factory=os.getpid)

    @property
    def cost(self) -> float:
        """Dollars so far, by the begun minute, as they are billed."""
        return self.per_hour / 60 * max(1, -(-(time.time() - self.started) // 60))


class Held:
    """A lease that this process minds: its lock goes with the process, however that ends."""

    def __init__(self, lease: Lease, file: IO[str]) -> None:
        self.lease = lease
        self._file = file

    def ended(self) -> None:
        """Forget the endpoint: it costs nothing any more."""
        _path(self.lease.namespace, self.lease.name).unlink(missing_ok=True)
        self._file.close()

    def left(self) -> None:
        """Let go of the lease, and leave the record to tell of it."""
        self._file.close()


def hold(lease: Lease) -> Held:
    """Write a lease down before its endpoint is asked for, and hold it.

    Raises:
        BackforthError: another process holds it.
    """
    path = _path(lease.namespace, lease.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        other = read(lease.namespace, lease.name)
        raise BackforthError(
            f"another run (process {other.process if other else 'unknown'}) uses the endpoint {lease.name}; "
            f"wait for it, or end it"
        ) from error
    _write(file, lease)
    return Held(lease, file)


def note(lease: Lease) -> None:
    """Write down a lease that a person minds."""
    held = hold(lease)
    held.left()


def forget(namespace: str, name: str) -> None:
    """Drop the record of an endpoint that costs nothing any more."""
    _path(namespace, name).unlink(missing_ok=True)


def read(namespace: str, name: str) -> Lease | None:
    """Return the record of an endpoint, None where there is none."""
    return _read(_path(namespace, name))


def known(namespace: str) -> Iterator[Lease]:
    """Yield the records of a namespace."""
    for path in sorted(_folder().glob(f"{namespace}--*.json")):
        lease = _read(path)
        if lease:
            yield lease


def minded(lease: Lease) -> bool:
    """Whether the process that holds a lease still runs."""
    with contextlib.suppress(FileNotFoundError), _path(lease.namespace, lease.name).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _write(file: IO[str], lease: Lease) -> None:
    file.truncate(0)
    file.write(json.dumps(asdict(lease)))
    file.flush()
    os.fsync(file.fileno())


def _read(path: Path) -> Lease | None:
    try:
        return Lease(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _path(namespace: str, name: str) -> Path:
    return _folder() / f"{namespace}--{name}.json"


def _folder() -> Path:
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "backforth" / "endpoints"
