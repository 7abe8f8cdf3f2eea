"""The embedded endpoint: one process that answers TGI's wire protocol for a small model and its adapters."""

from __future__ import annotations

from hub_tools.endpoints.server.options import DEFAULT_PORT, EndpointServerError, ServerOptions

__all__ = ["DEFAULT_PORT", "EndpointServerError", "ServerOptions", "serve"]


def serve(options: ServerOptions) -> None:
    """Load the model and answer requests until interrupted; prints `export TGI_ENDPOINT=…` when ready.

    Raises `EndpointServerError` for a busy port, a model that is not there, or an adapter of another base.
    """
    from hub_tools.endpoints.server.serving import run

    run(options)
