"""The command line: one command a verb, no logic of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from hub_tools.errors import BackforthError

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
    "and train and "
    "publish models on it. Start with `backforth run hub_tools/recipes/demo.yaml`.",
)
hub_app = typer.Typer(
    no_args_is_help=True, help="The embedded Hub: a Hub on this machine for unmodified clients."
)
endpoint_app = typer.Typer(no_args_is_help=True, help="The embedded endpoint: a small TGI on this machine.")
app.add_typer(hub_app, name="hub")
app.add_typer(endpoint_app, name="endpoint")

RecipeArgument = Annotated[Path, typer.Argument(help="The recipe, a YAML file.", metavar="RECIPE")]
SetOption = Annotated[
    Optional[list[str]],  # noqa: UP045  (typer reads it)
    typer.Option(
        "--set", help="Change one setting, such as `stages.rewrite.temperature=0.7`; may be repeated."
    ),
]
StoreOption = Annotated[Path, typer.Option(help="Folder that holds the Hub's repos.")]
DEFAULT_STORE = Path(".backforth/hub")


@app.command()
def run(
    recipe: RecipeArgument,
    only: Annotated[
        str | None, typer.Option(help="Run this node alone; what it reads must be published.")
    ] = None,
    overrides: SetOption = None,
) -> None:
    """Run a recipe: every node whose fingerprint is not published yet, in order.

    Nothing is lost when it is stopped or killed: run it again and it goes on. A node that is up to date does
    not run.
    """
    from hub_tools.recipe import load
    from hub_tools.run.run import Run
    from hub_tools.run.summary import print_next, print_outcomes

    bound = Run(load(recipe, overrides or []))
    outcomes = list(bound.run(only))
    console = _console()
    if all(outcome.state == "up to date" for outcome in outcomes):
        console.print("Everything is up to date: every fingerprint is on the Hub, and nothing ran.")
    print_outcomes(console, bound.hub, outcomes)
    print_next(console, bound.recipe, bound.hub, outcomes)


@app.command()
def plan(recipe: RecipeArgument, overrides: SetOption = None) -> None:
    """Show what `run` would do: which nodes are up to date and which would run, with their fingerprints."""
    from hub_tools.recipe import load
    from hub_tools.run.run import Run
    from hub_tools.run.summary import print_plan

    bound = Run(load(recipe, overrides or []))
    print_plan(_console(), list(bound.plan()))


@app.command()
def stages(
    name: Annotated[str | None, typer.Argument(help="A stage; all of them without one.")] = None,
) -> None:
    """List the stages that a recipe may use, or explain every setting of one."""
    from hub_tools.run.summary import print_settings, print_stages
    from hub_tools.stages.registry import get_stage, known_stages

    console = _console()
    if name is None:
        print_stages(console, known_stages())
    else:
        print_settings(console, get_stage(name, "backforth stages"))


@app.command()
def train(
    role: Annotated[str, typer.Argument(help="backward, forward or final.")],
    base: Annotated[str, typer.Option(help="The base model: ns/name@revision.")],
    dataset: Annotated[
        str, typer.Option(help="Seed pairs (backward, forward) or a mix (final): ns/name@revision.")
    ],
    method: Annotated[str, typer.Option(help="full, lora or qlora.")] = "qlora",
    config: Annotated[
        Path | None,
        typer.Option(help="YAML file with the training's settings, such as one of training/configs."),
    ] = None,
    overrides: SetOption = None,
    namespace: Annotated[
        str | None, typer.Option(help="Who owns the published model; the dataset's owner by default.")
    ] = None,
    name: Annotated[str, typer.Option(help="First part of the published model's name.")] = "backforth",
) -> None:
    """Train one model on a published dataset and publish it, outside any recipe.

    The Hub is the one of HF_ENDPOINT and HF_TOKEN, as for every program of the Hugging Face ecosystem.
    """
    from hub_tools.run.run import Run
    from hub_tools.run.single import training_recipe
    from hub_tools.run.summary import print_next, print_outcomes

    recipe = training_recipe(role, base, dataset, method, config, overrides or [], namespace, name)
    bound = Run(recipe)
    outcomes = list(bound.run())
    console = _console()
    print_outcomes(console, bound.hub, outcomes)
    print_next(console, bound.recipe, bound.hub, outcomes)


@hub_app.command("serve")
def hub_serve(
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8408,
    store: StoreOption = DEFAULT_STORE,
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than loopback need HF_TOKEN.")
    ] = "127.0.0.1",
    namespace: Annotated[
        str, typer.Option(help="The one namespace that the Hub's token may write to.")
    ] = "demo",
) -> None:
    """Serve a Hub from a folder. The first line printed is ready to paste into a shell."""
    from hub_tools.hub.server import HubServerError, serve

    token = os.environ.get("HF_TOKEN") if host not in ("127.0.0.1", "localhost") else None
    try:
        serve(store, port, host, namespace, token)
    except HubServerError as error:
        raise BackforthError(str(error)) from error


@hub_app.command("status")
def hub_status(store: StoreOption = DEFAULT_STORE) -> None:
    """Say whether the Hub of a folder is up, and how to use it."""
    from hub_tools.hub.server.daemon import running

    address = running(store)
    if address is None:
        typer.echo(f"no Hub is up for {store}; start it with: backforth hub serve --store {store}")
        raise typer.Exit(1)
    typer.echo(f"export HF_ENDPOINT={address.endpoint} HF_TOKEN={address.token}")
    typer.echo(f"process {address.pid} serves {store}; it may write to the namespace {address.namespace}")


@hub_app.command("stop")
def hub_stop(store: StoreOption = DEFAULT_STORE) -> None:
    """Stop the Hub of a folder; everything published stays in the folder."""
    from hub_tools.hub.server.daemon import stop

    typer.echo("stopped" if stop(store) else f"no Hub was up for {store}")


@endpoint_app.command("serve")
def endpoint_serve(
    model: Annotated[
        str, typer.Option(help="The model: ns/name@revision on the Hub of HF_ENDPOINT, or a folder.")
    ],
    adapter: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="A LoRA adapter as NAME=ns/name@revision; may be repeated."),
    ] = None,
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8409,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    max_batch_size: Annotated[int, typer.Option(help="Requests that are computed together.")] = 8,
    threads: Annotated[int | None, typer.Option(help="Threads for torch.")] = None,
) -> None:
    """Serve a model and its adapters with TGI's routes. The first line printed is ready to paste into a
    shell.
    """
    from hub_tools.endpoints.server import EndpointServerError, ServerOptions, serve
    from hub_tools.endpoints.server.options import TOKEN_VARIABLE, parse_adapter

    try:
        options = ServerOptions(
            model=model,
            adapters=dict(parse_adapter(text) for text in adapter or []),
            host=host,
            port=port,
            max_batch_size=max_batch_size,
            threads=threads,
            token=os.environ.get(TOKEN_VARIABLE) or None,
        )
        serve(options)
    except EndpointServerError as error:
        raise BackforthError(str(error)) from error


def _console() -> Console:
    """Standard output; wide where no terminal sets the width, so that tables stay whole in files."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 200)


def main() -> None:
    """Run the command line; what a user can mend ends as one line on standard error and a code other than
    0.
    """
    try:
        app()
    except BackforthError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(error.exit_code) from None
    except OSError as error:
        typer.echo(f"error: {error}; what is published is safe, run again once that is mended", err=True)
        raise SystemExit(1) from None
