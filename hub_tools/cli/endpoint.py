"""`backforth endpoint serve`: the embedded endpoint."""

from __future__ import annotations

import os
from typing import Annotated, Optional

import typer

from hub_tools.cli.app import SERVERS, app
from hub_tools.errors import BackforthError

endpoint_app = typer.Typer(
    no_args_is_help=True,
    help="The embedded endpoint, a small TGI on this machine; and dedicated ones on hired hardware.",
)
app.add_typer(endpoint_app, name="endpoint", rich_help_panel=SERVERS)


@endpoint_app.command("serve")
def endpoint_serve(
    model: Annotated[
        str, typer.Option(help="The model: [hf://]ns/name[@revision] on the Hub of HF_ENDPOINT, or a folder.")
    ],
    adapter: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="A LoRA adapter as [NAME=][hf://]ns/name[@revision]; may be repeated."),
    ] = None,
    model_id: Annotated[
        str | None, typer.Option(help="The name to answer by when the model is a folder: ns/name.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8409,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    max_batch_size: Annotated[int, typer.Option(help="Requests that are computed together.")] = 8,
    max_total_tokens: Annotated[
        int | None, typer.Option(help="Longest prompt and answer together; what the model takes by default.")
    ] = None,
    max_concurrent_requests: Annotated[
        int, typer.Option(help="Requests that may be here at once; one more gets 429.")
    ] = 128,
    threads: Annotated[int | None, typer.Option(help="Threads for torch.")] = None,
    device: Annotated[str, typer.Option(help="auto (a GPU if there is one), cpu or cuda.")] = "auto",
    dtype: Annotated[
        str,
        typer.Option(help="auto (float32 on a CPU, bfloat16 on a GPU that has it), or the type to load as."),
    ] = "auto",
    cors_allow_origin: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="A web page that may ask from a browser, as https://host, or *; may be repeated."),
    ] = None,
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
            max_total_tokens=max_total_tokens,
            max_concurrent_requests=max_concurrent_requests,
            threads=threads,
            device=device,
            dtype=dtype,
            model_id=model_id,
            cors_allow_origins=cors_allow_origin or (),
            token=os.environ.get(TOKEN_VARIABLE) or None,
        )
        serve(options)
    except EndpointServerError as error:
        raise BackforthError(str(error)) from error
