"""Ends a child process when its parent is gone, however the parent died."""

from __future__ import annotations

import os
import select
import sys
import threading


def exit_with_parent() -> None:
    """From now on, end this process at once when standard input closes or the parent process changes."""
    threading.Thread(target=_watch, args=(os.getppid(),), name="parent", daemon=True).start()


def _watch(parent: int) -> None:
    # A process that the parent forked may hold the pipe open after it, so its id is watched as well.
    descriptor = sys.stdin.fileno()
    while os.getppid() == parent:
        readable, _, _ = select.select([descriptor], [], [], 1.0)
        if readable and not os.read(descriptor, 4096):
            break
    os._exit(0)
