"""What the embedded endpoint is started with, and the one error it reports to whoever starts it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

DEFAULT_PORT = 8409
DEVICES = ("auto", "cpu", "cuda")
DTYPES = ("auto", "float32", "bfloat16", "float16")
TOKEN_VARIABLE = "BACKFORTH_ENDPOINT_TOKEN"  # noqa: S105 - the name of a variable, not a token


class EndpointServerError(Exception):
    """The server cannot start or stay up; the message is one line that says why and what to do."""


@dataclass(frozen=True)
class ServerOptions:
    """Settings of one server process: a base model, its adapters, and the limits clients read from `/info`.

    `model` and the values of `adapters` are `[hf://]namespace/name[@revision]` or a local folder.
    `device` is `auto` (a GPU if there is one), `cpu` or `cuda`; `dtype` is `auto` or one of `DTYPES`.
    `max_total_tokens` (prompt and answer) defaults to what the model takes, at most 8192. `threads` are
    torch's; by default one core stays free for whoever sends the requests. Port 0 takes any free port.
    `cors_allow_origins` are the web pages that may ask from a browser: `https://…`, or `*` for all of them.
    """

    model: str
    adapters: Mapping[str, str] = field(default_factory=dict)
    host: str = "127.0.0.1"
    port: int = 0
    max_batch_size: int = 8
    max_total_tokens: int | None = None
    max_concurrent_requests: int = 128
    threads: int | None = None
    device: str = "auto"
    dtype: str = "auto"
    model_id: str | None = None
    cors_allow_origins: Sequence[str] = ()
    token: str | None = field(default=None, repr=False)

    def check(self) -> None:
        """Raise `EndpointServerError` for settings that cannot work, before anything is loaded."""
        if not self.token and not is_loopback(self.host):
            raise EndpointServerError(
                f"host is {self.host}, open to others; set a token (${TOKEN_VARIABLE}) or use 127.0.0.1."
            )
        for name, allowed in (("device", DEVICES), ("dtype", DTYPES)):
            if getattr(self, name) not in allowed:
                choices = ", ".join(allowed)
                raise EndpointServerError(f"{name} is {getattr(self, name)}; it must be one of {choices}.")
        least = {"max_batch_size": 1, "max_concurrent_requests": 1, "max_total_tokens": 2, "threads": 1}
        for name, smallest in least.items():
            value = getattr(self, name)
            if value is not None and value < smallest:
                raise EndpointServerError(f"{name} is {value}; it must be at least {smallest}.")
        if not 0 <= self.port <= 65535:
            raise EndpointServerError(f"port is {self.port}; it must be one of 0 (any free one) to 65535.")


def parse_adapter(text: str) -> tuple[str, str]:
    """Read `[NAME=]REPO[@REV]` or `NAME=FOLDER`; a repository's own name is what it goes by without another.

    Raises `EndpointServerError` for anything else.
    """
    name, found, reference = text.partition("=")
    if not found:
        name, reference = text.removeprefix("hf://").partition("@")[0], text
    if not name or not reference or (not found and "/" not in name):
        raise EndpointServerError(f"{text!r} is not [NAME=]REPO[@REV] or NAME=FOLDER")
    return name, reference


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
