"""The embedded Hub: a small server that speaks the Hub's wire protocol to unmodified clients."""

from __future__ import annotations

from pathlib import Path

from hub_tools.hub.server.errors import HubServerError

__all__ = ["DEFAULT_PORT", "HubServerError", "serve"]

DEFAULT_PORT = 8408


def serve(
    store: Path, port: int, host: str = "127.0.0.1", namespace: str = "demo", token: str | None = None
) -> None:
    """Serve the store until interrupted; the first line printed sets up a client when pasted into a shell.

    Raises `HubServerError` when the port is busy, another server holds the store, or `host` is reachable
    from elsewhere and no token was given.
    """
    # The web stack is imported only by the process that serves, so that the command line stays quick.
    from hub_tools.hub.server.serving import serve_store

    serve_store(store, port, host, namespace, token)
