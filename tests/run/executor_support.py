"""A recipe whose backtranslation is asked in tasks, and what they published, byte for byte."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fault_server import FaultServer
from huggingface_hub import HfApi
from run_support import BASE, HubAddress, documents, write_lines, write_recipe

TASK = "hub_tools.run.executors.task"
TOKEN = "sesame-4711-open"


def asking_recipe(
    folder: Path, hub: HubAddress, name: str, server: FaultServer, rows: int = 60, **endpoint: Any
) -> Path:
    """Write a recipe of two nodes, documents and their instructions, of which `server` writes the latter."""
    folder.mkdir(exist_ok=True)
    server.about = {**server.about, "model_id": BASE, "model_sha": _api(hub).model_info(BASE).sha}
    write_lines(folder / "corpus.jsonl", documents(rows))
    recipe = {
        "name": name,
        "namespace": "demo",
        "work": str(folder / "work"),
        "hub": {"endpoint": "embedded", "store": str(hub.store), "port": 0},
        "endpoints": {"backward": {"model": BASE, "url": server.url, "concurrency": 8, **endpoint}},
        "stages": {
            "responses": {
                "reads": {"base": BASE},
                "source": "corpus.jsonl",
                "license": "cc0-1.0",
                "near_duplicate": 1,
            },
            "backtranslate": {"max_new_tokens": 48, "attempts": 2},
        },
    }
    return write_recipe(folder, recipe)


def start(
    hub: HubAddress, recipe: Path, *options: str, program: Path | None = None, **more: str
) -> subprocess.Popen[str]:
    """Start a run in the background."""
    command = [str(program)] if program else ["-m", "hub_tools"]
    return subprocess.Popen(
        [sys.executable, *command, "run", str(recipe), *options],
        env=hub.environment(ENDPOINT_TOKEN=TOKEN, **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    """Wait for a run and return all that it said."""
    output, _ = process.communicate(timeout=240)
    assert process.returncode == code, output
    return output


def published(hub: HubAddress, name: str) -> dict[str, str]:
    """Return the sha256 of every file with rows that the run published, and how many versions there are."""
    api, repo = _api(hub), f"demo/{name}-backtranslated"
    files = [file for file in api.list_repo_files(repo, repo_type="dataset") if file.endswith(".parquet")]
    assert len([ref for ref in api.list_repo_refs(repo, repo_type="dataset").tags if ref.name == "v1"]) == 1
    found = {}
    for file in files:
        path = api.hf_hub_download(repo, file, repo_type="dataset")
        found[file] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert found
    return found


def programs(folder: Path) -> list[int]:
    """Return the ids of the task programs that work in a folder."""
    return [pid for pid, line in processes() if TASK in line and str(folder) in line]


def wait_until(ready: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait for something to hold, and return it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = ready()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it never came to that")


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def holding(folder: Path, text: str) -> list[Path]:
    """Return the files below a folder that hold a text."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return [path for path in files if text.encode() in path.read_bytes()]


def _api(hub: HubAddress) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=hub.token)


def processes() -> Iterator[tuple[int, str]]:
    """Yield the id and command line of every process of this machine."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            yield int(entry.name), line
