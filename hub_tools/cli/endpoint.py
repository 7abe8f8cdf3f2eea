"""`backforth endpoint`: the embedded endpoint."""

from __future__ import annotations

import os
from typing import Annotated, Optional

import typer

from hub_tools.cli.app import app
from hub_tools.errors import BackforthError

endpoint_app = typer.Typer(no_args_is_help=True, help="The embedded endpoint: a small TGI on this machine.")
app.add_typer(endpoint_app, name="endpoint")


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
