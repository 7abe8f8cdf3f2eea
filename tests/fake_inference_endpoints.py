"""The Inference Endpoints API in small, since the real one costs money: endpoints come up after some looks,
and answer at `url`.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_fake_of_the_service"
LOOKS = 2  # at an endpoint until it runs


def hardware(name: str, price: float | None, **more: Any) -> dict[str, Any]:
    kind, _, size = name.rpartition("-")
    return {
        "id": f"aws-us-east-1-{name}",
        "accelerator": "gpu",
        "instanceType": kind,
        "instanceSize": size,
        "architecture": kind,
        "numAccelerators": int(size[1:]),
        "memoryGb": 30,
        "pricePerHour": price,
        "status": "available",
        "quota": {"maxAccelerators": 4, "usedAccelerators": 0},
        **more,
    }


class FakeService:
    """What the service knows, and what it was asked; `faults` are statuses to answer with, next first."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.token = token
        self.address = ""
        self.endpoints: dict[str, dict[str, Any]] = {}
        self.computes = [
            hardware("nvidia-l4-x1", 0.8),
            hardware("nvidia-l4-x4", 3.8),
            hardware("nvidia-new-x1", 0.0),
            hardware("nvidia-old-x1", 1.0, status="deprecated"),
        ]
        self.calls: Counter[str] = Counter()
        self.faults: list[int] = []
        self.becomes = "running"

    def state(self, name: str) -> str:
        return str(self.endpoints[name]["status"]["state"])

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        parts = path.strip("/").split("/")  # v2 endpoint NAMESPACE [NAME [VERB]]
        self.calls[f"{method} {'/'.join(parts[4:]) or parts[1]}"] += 1
        if self.faults:
            return self.faults.pop(0), {"error": "not now"}
        if parts[1] == "provider":
            regions = [{"name": "us-east-1", "computes": self.computes}]
            return 200, {"vendors": [{"name": "aws", "regions": regions}]}
        if len(parts) == 3 and method == "GET":
            return 200, {"items": list(self.endpoints.values())}
        if len(parts) == 3:
            return self._create(body)
        if parts[3] not in self.endpoints:
            return 404, {"error": "no such endpoint"}
        return self._change(method, parts[3], parts[4] if len(parts) > 4 else "")

    def _create(self, body: Any) -> tuple[int, Any]:
        if body["name"] in self.endpoints or len(body["name"]) > 32:
            return 409, {"error": "that name cannot be had"}
        status = {
            "state": "pending",
            "looks": 0,
            "createdAt": "2026-01-01T00:00:00Z",
            "updatedAt": "2026-01-01T00:00:00Z",
        }
        self.endpoints[body["name"]] = {**body, "healthRoute": "/health", "status": status}
        return 200, self.endpoints[body["name"]]

    def _change(self, method: str, name: str, verb: str) -> tuple[int, Any]:
        found = self.endpoints[name]
        status = found["status"]
        if method == "DELETE":
            del self.endpoints[name]
            return 200, {}
        if verb in ("pause", "scale-to-zero"):
            status["state"] = "paused" if verb == "pause" else "scaledToZero"
            status.pop("url", None)
        elif verb == "resume":
            status |= {"state": "pending", "looks": 0}
        elif status["state"] in ("pending", "initializing"):
            status["looks"] += 1
            status["state"] = "initializing" if status["looks"] < LOOKS else self.becomes
            if status["state"] == "running":
                status["url"] = self.url
        return 200, found


@contextmanager
def inference_endpoints(url: str, token: str = TOKEN) -> Iterator[FakeService]:
    """Run the fake in a thread; `url` is where every endpoint answers that runs."""
    service = FakeService(url, token)

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            allowed = self.headers.get("Authorization") == f"Bearer {service.token}"
            status, answer = (
                service.answer(self.command, self.path, body) if allowed else (401, {"error": "who?"})
            )
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = do_PUT = _handle

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.address = f"http://127.0.0.1:{server.server_port}/v2"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
