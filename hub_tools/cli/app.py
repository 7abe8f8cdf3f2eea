"""The command `backforth`, and what all its verbs share."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from hub_tools import __version__

if TYPE_CHECKING:
    from rich.console import Console

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # the run shows its own
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # idle threads of torch leave the cores to others

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Turn a web corpus into instruction-tuning data by instruction back-and-forth translation, "
    "and train and publish models on it. Start with `backforth run hub_tools/recipes/demo.yaml`.",
)

MAKE, LOOK_BACK, SERVERS = "Make data and models", "Follow them back", "Servers"  # parts of the help


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"backforth {__version__}")
        raise typer.Exit


@app.callback()
def _backforth(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Carry what all verbs share."""


RecipeArgument = Annotated[Path, typer.Argument(help="The recipe, a YAML file.", metavar="RECIPE")]
SetOption = Annotated[
    Optional[list[str]],  # noqa: UP045  (typer reads it)
    typer.Option(
        "--set", help="Change one setting, such as `stages.rewrite.temperature=0.7`; may be repeated."
    ),
]


def console() -> Console:
    """Standard output; wide where no terminal sets the width, so that tables stay whole in files."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 200)
