"""Work on a list that is spread over the machine's cores, in processes that end with this one."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import chain
from multiprocessing import get_context
from typing import Any, TypeVar

from training.errors import TrainingError

PR_SET_PDEATHSIG = 1  # Linux's sys/prctl.h
PART = 500  # items that a process takes at a time
FEW = 4 * PART  # items that are done before the processes would have begun

Item = TypeVar("Item")
Result = TypeVar("Result")


def on_all_cores(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Return what `function` makes of each item, in their order; the results are pickled, `function` is not.

    What it raises is raised here. Raises TrainingError where one of the processes is killed.
    """
    count = cores()
    if count == 1 or len(items) < FEW:
        return [function(item) for item in items]
    parts = [items[at : at + PART] for at in range(0, len(items), PART)]
    # Forked, so that they have the function and all that it holds, and need not import torch.
    started = partial(ProcessPoolExecutor, min(count, len(parts)), get_context("fork"))
    try:
        with _one_thread_each(), started(_begin, (function, os.getpid())) as pool:
            return list(chain.from_iterable(pool.map(_apply, parts)))
    except BrokenProcessPool as error:
        raise TrainingError(
            "a process that prepared pairs was killed, as happens where memory runs out; start again"
        ) from error


def cores() -> int:
    """Return how many cores this process may use, of which others of the same training have their share."""
    return max(1, len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


class _Process:
    """What one of the processes applies."""

    function: Callable[[Any], Any]


def _begin(function: Callable[[Any], Any], parent: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # without a word: Ctrl-C reaches the parent, too
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    _Process.function = function


def _apply(part: Sequence[Any]) -> list[Any]:
    return [_Process.function(item) for item in part]


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let tokenizers start no threads in the processes, which it would do with a warning after a fork."""
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TOKENIZERS_PARALLELISM"]
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = before
