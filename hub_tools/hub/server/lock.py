"""One server a store: a lock that the kernel lets go when its holder dies, and the holder's address in it."""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any

from hub_tools.hub.server.errors import HubServerError

FILE_NAME = "server.lock"
_PROBE_SECONDS = 1.0


class StoreLock:
    """The right to serve a store, held as long as the process lives."""

    def __init__(self, store: Path) -> None:
        self._path = store / FILE_NAME
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + _PROBE_SECONDS
        while not self._try_lock():
            if time.monotonic() > deadline:
                os.close(self._descriptor)
                holder = read_holder(store).get("endpoint", "which is just starting")
                raise HubServerError(f"The store {store} is already served by another Hub, {holder}")
            # Somebody who only looks whether the lock is held holds it for a moment.
            time.sleep(0.02)
        os.ftruncate(self._descriptor, 0)

    def _try_lock(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def publish(self, holder: dict[str, Any]) -> None:
        """Write down where the server answers, once it does."""
        os.pwrite(self._descriptor, json.dumps(holder).encode(), 0)

    def release(self) -> None:
        """Let another server have the store."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def is_held(store: Path) -> bool:
    """Whether a live process serves the store, whatever is written in the file."""
    try:
        descriptor = os.open(store / FILE_NAME, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def read_holder(store: Path) -> dict[str, Any]:
    """What the last holder wrote; empty if it has not got that far."""
    try:
        holder = json.loads((store / FILE_NAME).read_text())
    except (OSError, ValueError):
        return {}
    return holder if isinstance(holder, dict) else {}
