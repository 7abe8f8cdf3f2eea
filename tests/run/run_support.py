"""A small recipe on a tiny model that answers in short sentences, a Hub to run it against, and processes to
kill.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data"
BASE = "demo/tiny-1m"


@dataclass(frozen=True)
class HubAddress:
    """The embedded Hub of the tests."""

    endpoint: str
    token: str
    store: Path

    def environment(self, **more: str) -> dict[str, str]:
        return {
            **os.environ,
            "HF_ENDPOINT": self.endpoint,
            "HF_TOKEN": self.token,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
            **more,
        }


def documents(count: int) -> list[dict[str, Any]]:
    """Documents in Dolma's format, no two alike."""
    subjects = ["tea", "bread", "bicycles", "bees", "maps", "clocks", "rivers", "chalk"]
    return [
        {
            "id": f"https://pages.example.org/{number}",
            "source": "made-up",
            "text": f"Page {number} is about {subjects[number % 8]}. It says how "
            f"{subjects[number % 8]} came to town "
            f"number {number * 7}, and why {number} people liked it so much that they stayed for tea.",
            "metadata": {"url": f"https://pages.example.org/{number}", "language": "en"},
        }
        for number in range(count)
    ]


def trees(count: int) -> list[dict[str, Any]]:
    """Open Assistant trees with one ranked reply each."""
    return [
        {
            "message_tree_id": f"tree-{number}",
            "prompt": {
                "text": f"Count up to {number % 5} and say it well, number {number}.",
                "lang": "en",
                "role": "prompter",
                "replies": [{"text": "one " * (1 + number % 5) + "done", "rank": 0, "role": "assistant"}],
            },
        }
        for number in range(count)
    ]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def small_recipe(folder: Path, hub: HubAddress, name: str) -> dict[str, Any]:
    """Write the sources and return a recipe of the default graph, small enough for a test."""
    write_lines(folder / "corpus.jsonl", documents(12))
    write_lines(folder / "trees.jsonl", trees(10))
    training = {
        "method": "lora",
        "learning_rate": 1e-3,
        "steps": 6,
        "batch_size": 2,
        "max_length": 512,
        "lora_rank": 4,
        "lora_alpha": 8,
        "save_steps": 2,
    }
    asking = {"max_new_tokens": 48, "temperature": 0.5, "attempts": 3}
    return {
        "name": name,
        "namespace": "demo",
        "work": str(folder / "work"),
        "hub": {"endpoint": "embedded", "store": str(hub.store), "port": 0},
        "endpoints": {
            "backward": {"model": "train-backward", "concurrency": 4},
            "forward": {"model": "train-forward", "concurrency": 4},
            "rewriter": {"model": BASE, "concurrency": 4},
        },
        "stages": {
            "seed": {"source": "trees.jsonl"},
            "train-backward": {"reads": {"base": BASE}, **training},
            "responses": {"reads": {"base": BASE}, "source": "corpus.jsonl", "license": "cc0-1.0"},
            "backtranslate": dict(asking),
            "train-forward": {"reads": {"base": BASE}, **training},
            "curate": {
                "grammar": "Score: [1-5]",
                "max_new_tokens": 16,
                "keep_by": "expected_score",
                "min_score": 1,
                "keep_share": 0.5,
            },
            "rewrite": {"marks": "none", **asking},
            "distill": dict(asking),
            "mix": {},
            "train-final": {"reads": {"base": BASE}, **training},
            "report": {},
        },
    }


def write_recipe(folder: Path, recipe: dict[str, Any]) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    return path


def backforth(hub: HubAddress, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end, with its work beside the Hub's store: tests run side by side."""
    return subprocess.run(
        [sys.executable, "-m", "hub_tools", *arguments],
        cwd=hub.store.parent,
        env=hub.environment(**more),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def client(hub: HubAddress, program: str) -> Any:
    """Run a program that knows nothing but the public libraries, HF_ENDPOINT and HF_TOKEN; it prints JSON."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=hub.environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


def states(output: str) -> dict[str, str]:
    """Read from a run's progress lines which nodes ran and which were up to date."""
    lines = [line.split(maxsplit=1) for line in output.splitlines() if line[:1].isalpha()]
    return {
        node: "up to date" if text.startswith("up to date") else "ran"
        for node, text in lines
        if text.startswith(("up to date", "demo/"))
    }
