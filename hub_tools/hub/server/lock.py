"""One server a store: a lock that the kernel lets go when its holder dies, and the holder's address in it."""

from __future__ import annotations

import fcntl
import json
import os
import random
import time
from pathlib import Path
from typing import Any

from hub_tools.hub.server.errors import HubServerError

FILE_NAME = "server.lock"


class StoreLock:
    """The right to serve a store, held as long as the process lives."""

    def __init__(self, store: Path) -> None:
        self._path = store / FILE_NAME
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        while not _try_lock(self._descriptor, fcntl.LOCK_EX):
            # Somebody who only looks shares the lock for a moment; a server does not share it.
            if not _try_lock(self._descriptor, fcntl.LOCK_SH):
                os.close(self._descriptor)
                holder = read_holder(store).get("endpoint", "which is just starting")
                raise HubServerError(f"The store {store} is already served by another Hub, {holder}")
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            time.sleep(random.uniform(0.005, 0.02))
        os.ftruncate(self._descriptor, 0)

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
        return not _try_lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, mode: int) -> bool:
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def read_holder(store: Path) -> dict[str, Any]:
    """What the last holder wrote; empty if it has not got that far."""
    try:
        holder = json.loads((store / FILE_NAME).read_text())
    except (OSError, ValueError):
        return {}
    return holder if isinstance(holder, dict) else {}
