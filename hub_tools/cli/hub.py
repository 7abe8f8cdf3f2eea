"""`backforth hub`: the embedded Hub."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from hub_tools.cli.app import app
from hub_tools.errors import BackforthError

hub_app = typer.Typer(
    no_args_is_help=True, help="The embedded Hub: a Hub on this machine for unmodified clients."
)
app.add_typer(hub_app, name="hub")
StoreOption = Annotated[Path, typer.Option(help="Folder that holds the Hub's repos.")]
DEFAULT_STORE = Path(".backforth/hub")


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
