"""Runs the server in this process: port, model, web application, and the line that says it is ready."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import warnings
from typing import TYPE_CHECKING, Any

import uvicorn

from hub_tools.endpoints.server.connections import FullHouse, allow_many
from hub_tools.endpoints.server.options import EndpointServerError, ServerOptions
from hub_tools.endpoints.server.source import find_sources

if TYPE_CHECKING:
    from hub_tools.endpoints.server.service import Service

_GRACE_SECONDS = 5
_LAST_WORDS_SECONDS = 1  # of them, to tell clients that their answers will not be finished
# Longer than clients keep idle connections, or they would send into one that closes just then.
_KEEP_ALIVE_SECONDS = 120


def run(options: ServerOptions) -> None:
    """Serve until interrupted; see `hub_tools.endpoints.server.serve`."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    options.check()
    allow_many()
    with _bind(options.host, options.port) as listener:
        service = _load(options)
        service.batcher.start()
        try:
            service.try_out()
            _Server(service, listener.getsockname()[1]).run(sockets=[listener])
        except KeyboardInterrupt:
            pass  # uvicorn hands it on after it has closed the connections
        finally:
            service.batcher.stop()


def _quiet_libraries() -> None:
    """What libraries remark on themselves helps nobody who serves a model; their errors still come through.

    torch sets its own logger's level when it is imported, so it has to be imported before.
    """
    import torch  # noqa: F401

    warnings.simplefilter("ignore")
    for name in ("bitsandbytes", "peft", "torch", "torchao", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _load(options: ServerOptions) -> Service:
    sources = find_sources(options)
    base = sources.base
    at = f" at {base.sha[:12]}" if base.sha else ""
    count = len(sources.adapters)
    beside = f" with {count} adapter{'s' if count > 1 else ''}" if count else ""
    print(f"loading {base.name}{at}{beside} …", file=sys.stderr, flush=True)
    # Imported this late, torch and transformers do not hold up the errors found so far.
    _quiet_libraries()
    from hub_tools.endpoints.server.model import load
    from hub_tools.endpoints.server.service import Service

    return Service(load(options, sources), options)


class _Server(uvicorn.Server):
    def __init__(self, service: Service, port: int) -> None:
        from hub_tools.endpoints.server.app import create_app

        host = service.options.host
        self._service = service
        self._url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        super().__init__(
            uvicorn.Config(
                create_app(service),
                log_level="warning",
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=_GRACE_SECONDS,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            )
        )

    async def startup(self, sockets: list[Any] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(FullHouse())
        await super().startup(sockets=sockets)
        print(f"export TGI_ENDPOINT={self._url}", flush=True)

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        patience = max(0, _GRACE_SECONDS - _LAST_WORDS_SECONDS)
        asyncio.get_running_loop().call_later(patience, self._service.batcher.end)
        await super().shutdown(sockets=sockets)


def _bind(host: str, port: int) -> socket.socket:
    """Take the port before the model is loaded, so that a busy one is known at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise EndpointServerError(
            f"port {port} on {host} cannot be used: {error.strerror or error}."
        ) from error
    return listener
