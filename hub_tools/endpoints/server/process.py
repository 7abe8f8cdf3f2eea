"""Runs the embedded endpoint as a child process that never outlives its parent."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Self

import hub_tools
from hub_tools.endpoints.server.options import TOKEN_VARIABLE, EndpointServerError, ServerOptions

_READY = "export TGI_ENDPOINT="
_POLL_SECONDS = 0.05
_STOP_SECONDS = 15


class EndpointProcess:
    """A running endpoint: `url` while `alive`; `stop` or the end of a `with` block ends it."""

    def __init__(self, child: subprocess.Popen[bytes], url: str) -> None:
        self._child = child
        self.url = url

    @classmethod
    def start(
        cls, options: ServerOptions, environment: Mapping[str, str], log: Path, timeout: float = 300
    ) -> EndpointProcess:
        """Start a server with exactly this environment and wait until it answers; its output goes to `log`.

        Raises `EndpointServerError`, with the log's last line if it ends early, or after `timeout` seconds.
        """
        options.check()
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            child = subprocess.Popen(
                [sys.executable, "-m", "hub_tools.endpoints.server", *_arguments(options)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_variables(options, environment),
            )
        process = cls(child, "")
        try:
            process.url = _wait_for_url(child, log, timeout)
        except BaseException:
            process.stop()
            raise
        return process

    @property
    def alive(self) -> bool:
        """Whether the child still runs."""
        return self._child.poll() is None

    def stop(self) -> None:
        """End the child: politely, then by force; does nothing when it has ended."""
        if self.alive:
            self._child.terminate()
            try:
                self._child.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._child.kill()
        self._child.wait()
        if self._child.stdin:
            self._child.stdin.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _variables(options: ServerOptions, environment: Mapping[str, str]) -> dict[str, str]:
    variables = {name: value for name, value in environment.items() if name != TOKEN_VARIABLE}
    if options.token:
        variables[TOKEN_VARIABLE] = options.token  # never an argument: every user can read those
    # The child runs this very package, also where it is not installed but found from the working directory.
    paths = [str(Path(hub_tools.__file__).parents[1]), variables.get("PYTHONPATH", "")]
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return variables


def _arguments(options: ServerOptions) -> list[str]:
    arguments = ["--exit-with-parent", "--model", options.model, "--host", options.host]
    for name in (
        "port",
        "max_batch_size",
        "max_total_tokens",
        "max_concurrent_requests",
        "threads",
        "device",
        "dtype",
        "model_id",
    ):
        value = getattr(options, name)
        if value is not None:
            arguments += [f"--{name.replace('_', '-')}", str(value)]
    for origin in options.cors_allow_origins:
        arguments += ["--cors-allow-origin", origin]
    for name, reference in options.adapters.items():
        arguments += ["--adapter", f"{name}={reference}"]
    return arguments


def _wait_for_url(child: subprocess.Popen[bytes], log: Path, timeout: float) -> str:
    deadline = monotonic() + timeout
    while monotonic() < deadline:
        ended = child.poll() is not None
        for line in log.read_text(errors="replace").splitlines():
            if line.startswith(_READY):
                return line.removeprefix(_READY).strip()
        if ended:
            raise EndpointServerError(f"the endpoint did not start: {_last_line(log)}")
        sleep(_POLL_SECONDS)
    raise EndpointServerError(f"the endpoint was not ready after {timeout:g} s; see {log}.")


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ") if lines else f"it wrote nothing to {os.fspath(log)}"
