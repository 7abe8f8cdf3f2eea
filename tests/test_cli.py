"""The command line as somebody meets it who has just installed it."""

from __future__ import annotations

import subprocess
import sys

import hub_tools


def backforth(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "hub_tools", *words], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_help_begins_with_what_one_does_first() -> None:
    told = backforth("--help")
    verbs = ["run", "plan", "stages", "train", "versions", "lineage", "trace", "verify", "replay", "hub"]
    places = [told.index(f"│ {verb} ") for verb in verbs]
    assert places == sorted(places)


def test_version_is_the_packages() -> None:
    assert backforth("--version") == f"backforth {hub_tools.__version__}\n"


def test_help_loads_nothing_heavy() -> None:
    loaded = "import sys, hub_tools.cli; print(*sys.modules)"
    names = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "transformers", "datasets", "pyarrow", "aiohttp", "matplotlib"} & {*names.split()}
