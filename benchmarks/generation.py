"""Measures generation against simulated TGI servers, with a bare aiohttp loop beside it as the baseline.

    python benchmarks/generation.py                    # about five minutes on two cores
    python benchmarks/generation.py --rows 3000 --fast 5000

Every line is one client process against one server process. "Used" is the share of the slots' time, from the
first arrival to the last, that was spent generating; "useful" leaves out what ended in an error. A row of
ours is asked, journaled, parsed, and read back in order.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))
LONG_TAIL = {"replicas": 4, "slots": 128, "limit": 128, "median": 2.0, "sigma": 1.0}
FAULTS = {"overloaded": 0.02, "unavailable": 0.01}
FAST = {"replicas": 4, "slots": 128, "limit": 128, "median": 0.1, "sigma": 0.5}
DRAFT = "A page of the web says one thing, and then it says another, at some length. " * 20


@contextmanager
def cluster(**settings: float) -> Iterator[list[str]]:
    """Run simulated servers in a process of their own."""
    flags = [f"--{name}={value}" for name, value in settings.items()]
    command = [sys.executable, str(FOLDER / "simulated_tgi.py"), *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.kill()


def backforth(urls: Sequence[str], rows: int) -> int:
    """Rewrite rows with the real stage, journal and pool, and read them back in order."""
    from hub_tools.prompts import Prompts
    from hub_tools.records import Generation, Rejected, Scored
    from hub_tools.run.generate import Asked, Generator
    from hub_tools.run.journal import Journal
    from hub_tools.stages.registry import get_stage

    made = Generation(
        model="m", model_sha="0", endpoint="t", temperature=1.0, top_p=0.9, seed=1, finish_reason="stop",
        prompt_tokens=1, completion_tokens=1, prompt_sha256="0",
    )  # fmt: skip

    def pairs() -> Iterator[Any]:
        for number in range(rows):
            yield Scored(
                id=f"{number:016x}", source="s", url=None, license="mit", instruction=f"Say thing {number}.",
                response=DRAFT, score=5, expected_score=None, judgement="5", rule="r", generation=made,
            )  # fmt: skip

    stage = get_stage("rewrite", "benchmark")
    config: Any = stage.config()
    task: Any = stage.make(config, Prompts().render)
    asked = Asked(
        urls=urls, name="demo/simulated", model="demo/simulated", sha="0" * 40, kind="tgi", timeout=600,
        tries=6, patience=60,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "journal.sqlite")
        generator = Generator("rewrite", 0, config, task, asked, journal)
        asyncio.run(generator.ask_all(pairs(), lambda *_, **__: None))
        found = sum(not isinstance(row, Rejected) for row in generator.outcomes(pairs()))
        journal.close()
    return found


def raw(urls: Sequence[str], rows: int) -> int:
    """Send the same bodies with nothing but aiohttp, 128 at a time to each server, and read the answers."""
    import aiohttp

    from hub_tools.prompts import Prompts

    texts = [
        Prompts().render("rewrite", instruction=f"Say thing {number}.", draft=DRAFT, marks="yes")
        for number in range(min(rows, 1000))
    ]
    numbers, found = iter(range(rows)), []

    async def work(session: aiohttp.ClientSession, url: str) -> None:
        for number in numbers:
            body = {
                "model": "demo/simulated", "messages": [{"role": "user", "content": texts[number % 1000]}],
                "max_tokens": 1024, "temperature": 1.0, "top_p": 0.9, "seed": number,
            }  # fmt: skip
            async with session.post(f"{url}/v1/chat/completions", json=body) as response:
                answer = json.loads(await response.read())
                found.append(response.status == 200 and bool(answer["choices"]))

    async def main() -> None:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout()) as session:
            await asyncio.gather(*(work(session, url) for url in urls for _ in range(128)))

    asyncio.run(main())
    return sum(found)


CLIENTS: dict[str, Callable[[Sequence[str], int], int]] = {"backforth": backforth, "raw aiohttp": raw}


def measure(client: str, rows: int, warm_up: int = 0, **settings: float) -> dict[str, Any]:
    """Run one client in a process of its own against a fresh cluster."""
    with cluster(**settings) as urls:
        command = [sys.executable, __file__, "--client", client, "--rows", str(rows)]
        command += ["--warm-up", str(warm_up), "--urls", *urls]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return {"client": client, "error": (done.stderr.strip().splitlines() or ["no message"])[-1]}
        with urlopen(f"{urls[0]}/stats", timeout=30) as answer:
            return {"client": client, **json.loads(done.stdout.splitlines()[-1]), **json.load(answer)}


def run_client(client: str, urls: Sequence[str], rows: int, warm_up: int) -> dict[str, Any]:
    """Run a client here; seconds, CPU and memory are this process's own, after a warm-up."""
    if warm_up:
        CLIENTS[client](urls, warm_up)
        urlopen(f"{urls[0]}/stats", timeout=30).close()
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    found = CLIENTS[client](urls, rows)
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    seconds = time.monotonic() - began
    return {"rows": found, "seconds": seconds, "cpu": cpu, "megabytes": used.ru_maxrss / 1024}


def line(what: str, found: dict[str, Any]) -> str:
    """One line of the table."""
    head = f"{what:<34} {found['client']:<12}"
    if "error" in found:
        return f"{head} failed: {found['error'][:80]}"
    rows, answers = found["rows"], json.dumps(found["answers"])
    return (
        f"{head} {rows:>7} {rows / found['seconds']:>8.0f} {found['used']:>7.1%} {found['useful']:>7.1%} "
        f"{found['cpu'] / max(rows, 1) * 1e6:>8.0f} {found['megabytes']:>5.0f}  {answers}"
    )


def table(rows: int, fast: int) -> None:
    """Run everything and print one table."""
    print(
        f"{'':<34} {'client':<12} {'rows':>7} {'rows/s':>8} {'used':>7} {'useful':>7} {'CPU us':>8} {'MB':>5}"
        "  answers by status"
    )
    for client in ("raw aiohttp", "backforth"):
        print(line("long tail, undisturbed", measure(client, rows, **LONG_TAIL)), flush=True)
    print(
        line("long tail, 2 % 429 and 1 % 503", measure("backforth", rows, **LONG_TAIL, **FAULTS)), flush=True
    )
    for client in ("raw aiohttp", "backforth"):
        print(line("short answers, as fast as it goes", measure(client, fast, 1000, **FAST)), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000, help="rows of the long-tail runs")
    parser.add_argument("--fast", type=int, default=10_000, help="rows of the runs with short answers")
    parser.add_argument("--client", choices=CLIENTS, help=argparse.SUPPRESS)
    parser.add_argument("--warm-up", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--urls", nargs="*", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.client:
        print(json.dumps(run_client(given.client, given.urls, given.rows, given.warm_up)))
    else:
        table(given.rows, given.fast)
