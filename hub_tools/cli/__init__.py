"""The command line: one command a verb, no logic of its own."""

from __future__ import annotations

import typer

from dataset_cards.escape import visible
from hub_tools.cli import runs  # noqa: F401  (each module adds its verbs, in the order of the help)

# isort: split
from hub_tools.cli import audit, dedicated, endpoint, hub  # noqa: F401
from hub_tools.cli.app import app
from hub_tools.errors import BackforthError


def main() -> None:
    """Run the command line; what a user can mend ends as one line on standard error and a code other than
    0.
    """
    try:
        app()
    except BackforthError as error:
        typer.echo(f"{error.label}: {visible(str(error))}", err=True)
        raise SystemExit(error.exit_code) from None
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt) or isinstance(end.__cause__, KeyboardInterrupt):
            typer.echo("stopped", err=True)
        raise
    except OSError as error:
        typer.echo(
            f"error: {visible(str(error))}; what is published is safe, run again once that is mended",
            err=True,
        )
        raise SystemExit(1) from None
