"""The serving process: lock the store, take the port, say how to reach it, serve."""

from __future__ import annotations

import ipaddress
import logging
import os
import re
import socket
from pathlib import Path

import uvicorn

from hub_tools.hub.server.app import create_app
from hub_tools.hub.server.errors import HubServerError
from hub_tools.hub.server.lock import StoreLock
from hub_tools.hub.server.repos import check_namespace
from hub_tools.hub.server.store import Store, prepare_folder

_GRACE_SECONDS = 3


def serve_store(path: Path, port: int, host: str, namespace: str, token: str | None) -> None:
    """Serve until a signal ends it; see `hub_tools.hub.server.serve`."""
    _check(host, port, namespace, token)
    path = prepare_folder(path)
    umask = os.umask(0o077)
    try:
        lock = StoreLock(path)
        try:
            with _listen(host, port) as listener:
                _serve_locked(
                    lock, path, listener, _address(host, listener.getsockname()[1]), namespace, token
                )
        finally:
            lock.release()
    finally:
        os.umask(umask)


def _serve_locked(
    lock: StoreLock, path: Path, listener: socket.socket, address: str, namespace: str, token: str | None
) -> None:
    store = Store(path)
    store.blobs.clear_incoming()
    account = store.accounts.owner(namespace, token)
    endpoint = f"http://{address}"
    lock.publish({"endpoint": endpoint, "namespace": namespace, "pid": os.getpid(), "store": store.id})
    print(f"export HF_ENDPOINT={endpoint} HF_TOKEN={account.token}", flush=True)
    print(f"This token may write to the namespace {namespace!r}; the store is {path}", flush=True)
    _run(store, listener, address)


def _run(store: Store, listener: socket.socket, address: str) -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    config = uvicorn.Config(
        create_app(store, address),
        access_log=False,
        log_config=None,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        # Clients keep idle connections; a short limit here would close one just as it is used again.
        timeout_keep_alive=120,
    )
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        return


def _check(host: str, port: int, namespace: str, token: str | None) -> None:
    if not 0 <= port <= 65535:
        raise HubServerError(f"{port} is no port: use 1 to 65535, or 0 for any free one")
    check_namespace(namespace)
    if token is not None and not re.fullmatch(r"[!-~]+", token):
        raise HubServerError("The token must be printable ASCII without spaces")
    if token is None and not _is_loopback(host):
        raise HubServerError(
            f"{host} can be reached from other machines: give a token of your own to serve there"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _address(host: str, port: int) -> str:
    """The host and port for a client on this machine."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"{reachable}:{port}"


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise HubServerError(f"{host}:{port} is no address to serve on: {error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise HubServerError(
            f"Port {port} of {host} cannot be used: {error}; choose another with --port"
        ) from error
    return listener
