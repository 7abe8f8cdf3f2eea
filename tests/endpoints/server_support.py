"""What the tests of the embedded endpoint share: a plain HTTP caller, and where the tiny model lies."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

BASE = "tests/tiny-base"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


@dataclass(frozen=True)
class Tiny:
    """Folders of the tiny base and of its adapters."""

    base: Path
    adapters: dict[str, str]
    alien: Path


@dataclass(frozen=True)
class Reply:
    status: int
    body: Any
    headers: dict[str, str]


class Caller:
    """Sends plain HTTP requests to a server."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url
        self.token = token

    def get(self, path: str) -> Reply:
        return self._send(Request(self.url + path))

    def post(self, path: str, body: Any, content_type: str = "application/json") -> Reply:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self._send(Request(self.url + path, data, {"Content-Type": content_type}))

    def text(self, path: str, body: Any = None) -> str:
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.url + path, data, {"Content-Type": "application/json"})
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        with urlopen(request, timeout=60) as response:
            content: bytes = response.read()
        return content.decode()

    def generate(self, inputs: str, **parameters: Any) -> Reply:
        return self.post("/generate", {"inputs": inputs, "parameters": parameters})

    def chat(self, content: str, **settings: Any) -> Reply:
        return self.post(
            "/v1/chat/completions", {"messages": [{"role": "user", "content": content}], **settings}
        )

    def _send(self, request: Request) -> Reply:
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with urlopen(request, timeout=60) as response:
                return Reply(response.status, _parsed(response.read()), dict(response.headers.items()))
        except HTTPError as error:
            with error:
                return Reply(error.code, _parsed(error.read()), dict(error.headers.items()))


def _parsed(content: bytes) -> Any:
    return json.loads(content) if content else None
