"""A server in the background: find the one of a store, start it, stop it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from hub_tools.hub.server.accounts import Accounts
from hub_tools.hub.server.errors import HubServerError
from hub_tools.hub.server.lock import is_held, read_holder
from hub_tools.hub.server.store import prepare_folder

_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.05
_HOLDER_KEYS = {"endpoint", "namespace", "pid", "store"}
LOG_NAME = "server.log"


@dataclass(frozen=True)
class Address:
    """A live server: where it answers, with which token, for which namespace, as which process."""

    endpoint: str
    token: str
    namespace: str
    pid: int
    store: Path


def running(store: Path) -> Address | None:
    """The live server of a store, or None; a lock file left by a dead one does not count."""
    store = store.expanduser().absolute()
    if not is_held(store):
        return None
    holder = read_holder(store)
    if not holder.keys() >= _HOLDER_KEYS or not _answers(holder["endpoint"], holder["store"], holder["pid"]):
        return None
    account = Accounts(store).known(holder["namespace"])
    if account is None:
        return None
    return Address(holder["endpoint"], account.token, holder["namespace"], holder["pid"], store)


def _answers(endpoint: str, store_id: str, pid: int) -> bool:
    # A proxy set for the outside world must not be asked for a server on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{endpoint}/_store", timeout=5) as answer:
            found = json.load(answer)
    except (OSError, ValueError, http.client.HTTPException):
        return False
    return bool(found == {"store": store_id, "pid": pid})


def owner(store: Path, default: str) -> str:
    """The namespace that a store serves or was made for; `default` for a store that is new."""
    store = store.expanduser().absolute()
    address = running(store)
    return address.namespace if address else Accounts(store).first_user() or default


def ensure(store: Path, port: int, namespace: str = "demo") -> Address:
    """Return the store's live server, started in the background if there is none.

    Raises `HubServerError` if it does not come up, or serves another namespace.
    """
    store = prepare_folder(store)
    address = running(store) or _start(store, port, namespace)
    if address.namespace != namespace:
        raise HubServerError(
            f"The Hub at {address.endpoint} serves the namespace {address.namespace!r},"
            f" not {namespace!r}; stop it first"
        )
    return address


def _start(store: Path, port: int, namespace: str) -> Address:
    command = [sys.executable, "-m", "hub_tools.hub.server", "--store", str(store)]
    command += ["--port", str(port), "--namespace", namespace]
    # The child must find this very package, from wherever the parent was started.
    package_root = str(Path(__file__).parents[3])
    search_path = os.pathsep.join([package_root, *filter(None, [os.environ.get("PYTHONPATH")])])
    descriptor = os.open(store / LOG_NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            # What it prints there is the token, which no log may hold.
            stdout=subprocess.DEVNULL,
            stderr=log,
            env={**os.environ, "PYTHONPATH": search_path},
            cwd=store,
            start_new_session=True,
        )
    return _wait_until_up(store, process)


def _wait_until_up(store: Path, process: subprocess.Popen[bytes]) -> Address:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        # If it ended because another process was quicker, that one's server is as good.
        if address := running(store):
            return address
        if ended and not is_held(store):
            raise HubServerError(f"The Hub did not start: {_last_line(store / LOG_NAME)}")
        time.sleep(_POLL_SECONDS)
    if process.poll() is None:
        process.kill()
    raise HubServerError(
        f"The Hub did not answer within {_START_SECONDS:.0f} s: {_last_line(store / LOG_NAME)}"
    )


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ") if lines else f"{log} is empty"


def stop(store: Path) -> bool:
    """End the store's server and wait until it is gone; False if none was running."""
    address = running(store)
    if address is None:
        return False
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(address.pid, number)
        deadline = time.monotonic() + _STOP_SECONDS
        while time.monotonic() < deadline:
            if not _holds(address):
                return True
            time.sleep(_POLL_SECONDS)
    raise HubServerError(f"The Hub with pid {address.pid} does not end")


def _holds(address: Address) -> bool:
    """Whether that very process still has the store; another may have taken it over already."""
    return is_held(address.store) and read_holder(address.store).get("pid", address.pid) == address.pid
