"""Measures generation against simulated TGI servers: backforth, a bare aiohttp loop, and peers beside them.

    python benchmarks/generation.py                    # under four minutes on two cores, ten with the peers
    python benchmarks/generation.py --rows 3000 --fast 5000 --no-endpoint
    python benchmarks/generation.py --peer distilabel=VENV/bin/python --peer datatrove=VENV/bin/python

Every line is one client, a program of `peers/`, against servers in one process. "Used" is the share of the
slots' time, from the first arrival to the last of a new request, that was spent generating; "useful" leaves
out what ended in an error. A row is finished if it has text in the file that the client leaves, and lost if
it is not in there. A row of ours is asked, journaled, parsed, and read back in order. Peers run in virtual
environments of their own and take one server, so ours gets one there, too; their programs say what to
install, and which settings were chosen for what reasons. At the end, some four minutes more, stands the
embedded endpoint beside a bare torch loop (`endpoint.py`).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))

Settings = dict[str, float]  # of the simulated servers

SLOTS = 128
LONG_TAIL: Settings = {"replicas": 4, "median": 1.0, "sigma": 1.0}
FAST: Settings = {"replicas": 4, "median": 0.1, "sigma": 0.5}
FAULTS: Settings = {"overloaded": 0.02, "unavailable": 0.01}
MANY_FAULTS: Settings = {"overloaded": 0.05, "unavailable": 0.02, "hangs": 0.01, "torn": 0.01}
PATIENCE = 300  # seconds until a client is killed
DRAFT = "A page of the web says one thing, and then it says another, at some length. " * 20
HEAD = ("", "client", "finished", "lost", "empty", "exit", "rows/s", "used", "useful", "CPU us", "MB", "load")
WIDTHS = (35, 11, 8, 5, 5, 6, 6, 6, 6, 6, 5, 5)


@dataclass(frozen=True)
class Run:
    """What came of one client's run; `measured` is what it says of itself, `served` what the servers say."""

    rows: int
    texts: Mapping[str, str | None]
    code: int | str
    digest: str
    last_words: str
    measured: dict[str, float]
    served: dict[str, Any]
    load: float = field(default_factory=lambda: os.getloadavg()[0])

    def cells(self) -> list[str]:
        """Return the numbers of its line."""
        finished = sum(map(bool, self.texts.values()))
        counts = [finished, self.rows - len(self.texts), len(self.texts) - finished, self.code]
        own = ["-", "-", "-"]
        if self.measured:
            speed, cpu = finished / self.measured["seconds"], self.measured["cpu"] / max(finished, 1)
            own = [f"{speed:.0f}", f"{cpu * 1e6:.0f}", f"{self.measured['megabytes']:.0f}"]
        shares = [f"{self.served[share]:.1%}" for share in ("used", "useful")]
        return [*map(str, counts), own[0], *shares, *own[1:], f"{self.load:.1f}"]


@contextmanager
def cluster(settings: Settings) -> Iterator[list[str]]:
    """Run simulated servers in a process of their own."""
    flags = [f"--{name}={value}" for name, value in settings.items()]
    command = [
        sys.executable,
        str(FOLDER / "simulated_tgi.py"),
        f"--slots={SLOTS}",
        f"--limit={SLOTS}",
        *flags,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.kill()


def write_prompts(path: Path, rows: int) -> None:
    """Write what is asked for: as the rewriting stage asks it, and in parts."""
    from hub_tools.prompts import Prompts

    render = Prompts().render
    with path.open("w") as file:
        for number in range(rows):
            parts = {"instruction": f"Say thing {number}.", "draft": DRAFT}
            row = {"id": f"{number:016x}", **parts, "text": render("rewrite", **parts, marks="yes")}
            file.write(f"{json.dumps(row)}\n")


def said_last(errors: str) -> str:
    """Return the last line of what a client wrote of its failure, short and safe to print."""
    line = (errors.strip().splitlines() or ["no message"])[-1]
    return "".join(sign for sign in line if sign.isprintable())[:100]


def run_client(command: list[str]) -> tuple[int | str, str, str]:
    """Run a client, and kill it and what it started if it takes too long."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            out, errors = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return "killed", *process.communicate()
        return process.returncode, out, errors


@dataclass(frozen=True)
class Bench:
    """Runs clients by name, each with its own Python, and prints their lines."""

    pythons: Mapping[str, str]

    def line(
        self, what: str, client: str, rows: int, settings: Settings, warm_up: int = 0, timeout: int = 600
    ) -> Run:
        """Run one client against fresh servers, and print its line."""
        with tempfile.TemporaryDirectory() as folder, cluster(settings) as urls:
            prompts, out = Path(folder) / "prompts.jsonl", Path(folder) / "rows.jsonl"
            write_prompts(prompts, rows)
            command = [self.pythons[client], str(FOLDER / "peers" / f"ask_{client}.py"), "--urls", *urls]
            command += [f"--prompts={prompts}", f"--out={out}", f"--slots={SLOTS}", f"--timeout={timeout}"]
            code, said, errors = run_client([*command, f"--warm-up={warm_up}"])
            with urlopen(f"{urls[0]}/stats", timeout=30) as answer:
                served = json.load(answer)
            content = out.read_bytes() if out.exists() else b""
        texts = {row["id"]: row["text"] for row in map(json.loads, content.splitlines())}
        measured = json.loads(said.splitlines()[-1]) if code == 0 else {}
        last_words = "" if code == 0 else said_last(errors)
        digest = hashlib.sha256(content).hexdigest()
        run = Run(rows, texts, code, digest, last_words, measured, served)
        self.print(what, client, *run.cells(), after=f"{json.dumps(served['answers'])} {last_words}")
        return run

    def print(self, what: str, client: str, *cells: str, after: str) -> None:
        """Print one line of the table."""
        head = f"{what:<{WIDTHS[0]}} {client:<{WIDTHS[1]}}"
        rest = " ".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS[2:], strict=True))
        print(f"{head} {rest}  {after}", flush=True)


def table(bench: Bench, rows: int, fast: int, peer_rows: int, peers: list[str]) -> bool:
    """Run everything and print one table; whether many faults changed no row."""
    bench.print(*HEAD, after="answers")
    for client in ("raw", "backforth"):
        bench.line("long tail, undisturbed", client, rows, LONG_TAIL)
    bench.line("long tail, 2 % 429, 1 % 503", "backforth", rows, LONG_TAIL | FAULTS)
    one = LONG_TAIL | {"replicas": 1}
    for client in ("raw", "backforth", *peers) if peers else ():
        bench.line("one server, undisturbed", client, peer_rows, one)
    for client in ("backforth", *peers) if peers else ():
        bench.line("one server, 2 % 429, 1 % 503", client, peer_rows, one | FAULTS)
    for client in ("raw", "backforth"):
        plain = bench.line("short answers, at full speed", client, fast, FAST, warm_up=1000)
    many = bench.line(
        "5 % 429, 2 % 503, 1 % hang, 1 % torn", "backforth", fast, FAST | MANY_FAULTS, timeout=5
    )
    same = "the same bytes as" if many.digest == plain.digest else "OTHER ROWS THAN"
    print(f"The rows of the last line: {same} those of the line before.")
    return many.digest == plain.digest


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=8_000, help="rows of the long-tail runs")
    parser.add_argument("--fast", type=int, default=10_000, help="rows of the runs with short answers")
    parser.add_argument("--peer-rows", type=int, default=1_500, help="rows of the runs with one server")
    parser.add_argument("--peer", action="append", default=[], help="NAME=PYTHON; the program is in peers/")
    parser.add_argument("--no-endpoint", action="store_true", help="leave out the embedded endpoint")
    given = parser.parse_args()
    pythons = dict(peer.split("=", 1) for peer in given.peer)
    own = {"raw": sys.executable, "backforth": sys.executable}
    unchanged = table(Bench({**own, **pythons}), given.rows, given.fast, given.peer_rows, list(pythons))
    if not given.no_endpoint:
        subprocess.run([sys.executable, str(FOLDER / "endpoint.py"), "--rounds=1"], check=True)
    sys.exit(not unchanged)
