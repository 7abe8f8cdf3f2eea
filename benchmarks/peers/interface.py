"""What every client here is given, and what it leaves: a line for every row, and its time, CPU and memory.

Plain Python, since each peer runs in a virtual environment of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

Row = dict[str, str]  # `id`, `instruction`, `draft`, and `text`: the whole prompt


@dataclass(frozen=True)
class Given:
    """Servers, each with so many slots, and how long one answer may take, in seconds."""

    urls: list[str]
    slots: int
    timeout: int


Ask = Callable[[Given, list[Row]], Iterator[tuple[str, str | None]]]  # yields each row's id and answer


def main(ask: Ask) -> None:
    """Run a client over the prompts; imports do not count, nor does a warm-up."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--urls", nargs="+", required=True)
    parser.add_argument("--prompts", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--timeout", type=int, required=True)
    parser.add_argument("--warm-up", type=int, default=0)
    flags = parser.parse_args()
    given = Given(flags.urls, flags.slots, flags.timeout)
    rows = [json.loads(line) for line in flags.prompts.read_text().splitlines()]
    if flags.warm_up:
        list(ask(given, rows[: flags.warm_up]))
        urlopen(f"{given.urls[0]}/stats", timeout=30).close()
    before, began = cpu(), time.monotonic()
    with flags.out.open("w") as file:
        for row, text in ask(given, rows):
            file.write(f"{json.dumps({'id': row, 'text': text})}\n")
    most = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    found = {"seconds": time.monotonic() - began, "cpu": cpu() - before, "megabytes": most / 1024}
    print(f"\n{json.dumps(found)}")


def cpu() -> float:
    """Return the CPU seconds of this process and of those that it started and that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
