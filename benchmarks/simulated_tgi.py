"""A cluster of simulated TGI servers: slots, a queue, log-normal latency, 429 past the limit, and faults.

It generates nothing, so two cores can show what a client does with hundreds of slots. Every replica listens
on a port of its own; the first line printed is a JSON list of their addresses. `GET /stats` tells how much of
the slots' time was used up to the last arrival of a new request, and starts anew.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any

REASONS = {200: "OK", 404: "Not Found", 429: "Too Many Requests", 503: "Service Unavailable"}
TEXT = "[RES]" + "A sentence of the answer, with some words in it. " * 40 + "[/RES]"


@dataclass
class Settings:
    """What the cluster is like; `median` and `sigma` are those of the log-normal time of an answer."""

    replicas: int = 4
    slots: int = 128
    limit: int = 128
    median: float = 2.0
    sigma: float = 1.0
    overloaded: float = 0.0
    unavailable: float = 0.0
    seed: int = 0


@dataclass
class Usage:
    """Slot seconds of one replica since the first arrival."""

    busy: int = 0
    since: float = 0.0
    used: float = 0.0
    useful: float = 0.0
    wasted: float = 0.0

    def until(self, now: float) -> None:
        self.used += self.busy * (now - self.since)
        self.since = now


class Cluster:
    """All replicas, and what came of their time."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.random = random.Random(settings.seed)
        self.replicas = [Replica(self) for _ in range(settings.replicas)]
        self.reset()

    def reset(self) -> None:
        self.seen: set[int] = set()
        self.first = self.last = 0.0
        self.used = 0.0
        self.sent: dict[int, int] = {}
        for replica in self.replicas:
            replica.usage = Usage()

    def arrival(self, body: bytes, now: float) -> None:
        """Mark the time of a request that was not here before; one sent again prolongs nothing."""
        if hash(body) in self.seen:
            return
        self.seen.add(hash(body))
        self.first = self.first or now
        self.last = now
        for replica in self.replicas:
            replica.usage.until(now)
        self.used = sum(replica.usage.used for replica in self.replicas)

    def stats(self) -> dict[str, Any]:
        capacity = self.settings.replicas * self.settings.slots * (self.last - self.first)
        useful = sum(replica.usage.useful for replica in self.replicas)
        ended = useful + sum(replica.usage.wasted for replica in self.replicas)
        share = self.used / capacity if capacity else 0.0
        answers = {str(status): number for status, number in sorted(self.sent.items())}
        found = {"used": share, "useful": share * useful / ended if ended else 0.0, "answers": answers}
        self.reset()
        return found


@dataclass
class Replica:
    """One server."""

    cluster: Cluster
    here: int = 0
    usage: Usage = field(default_factory=Usage)
    queue: deque[tuple[Connection, float]] = field(default_factory=deque)

    def arrives(self, connection: Connection, body: bytes) -> None:
        settings, chance = self.cluster.settings, self.cluster.random.random()
        now = asyncio.get_running_loop().time()
        self.cluster.arrival(body, now)
        if chance < settings.overloaded or self.here >= settings.limit:
            connection.answer(429, {"error": "Model is overloaded", "error_type": "overloaded"})
            return
        self.here += 1
        if self.usage.busy < settings.slots:
            self.starts(connection, now, now)
        else:
            self.queue.append((connection, now))

    def starts(self, connection: Connection, came: float, now: float) -> None:
        settings = self.cluster.settings
        seconds = settings.median * self.cluster.random.lognormvariate(0, settings.sigma)
        self.usage.until(now)
        self.usage.busy += 1
        asyncio.get_running_loop().call_later(seconds, self.ends, connection, now - came, seconds)

    def ends(self, connection: Connection, queued: float, seconds: float) -> None:
        now = asyncio.get_running_loop().time()
        self.usage.until(now)
        self.usage.busy -= 1
        self.here -= 1
        if self.cluster.random.random() < self.cluster.settings.unavailable:
            self.usage.wasted += seconds
            connection.answer(503, {"error": "unhealthy", "error_type": "healthcheck"})
        else:
            self.usage.useful += seconds
            connection.answer(200, COMPLETION, f"x-queue-time: {round(queued * 1000)}\r\n")
        if self.queue:
            waiting, came = self.queue.popleft()
            self.starts(waiting, came, now)

    def info(self) -> dict[str, Any]:
        limit = self.cluster.settings.limit
        return {"model_id": "demo/simulated", "model_sha": "0" * 40, "max_concurrent_requests": limit}


class Connection(asyncio.Protocol):
    """Just enough HTTP/1.1 for a client that sends one request after the other."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, found, rest = self.received.partition(b"\r\n\r\n")
        if not found:
            return
        at = head.lower().find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r", 1)[0]) if at >= 0 else 0
        if len(rest) >= length:
            self.received = rest[length:]
            self.route(head.split(b" ", 2)[1], rest[:length])

    def route(self, path: bytes, body: bytes) -> None:
        if path == b"/v1/chat/completions":
            self.replica.arrives(self, body)
        elif path == b"/info":
            self.answer(200, self.replica.info())
        elif path == b"/stats":
            self.answer(200, self.replica.cluster.stats())
        else:
            self.answer(200 if path == b"/health" else 404, {})

    def answer(self, status: int, body: Any, headers: str = "") -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        if status != 200 or body is COMPLETION:
            sent = self.replica.cluster.sent
            sent[status] = sent.get(status, 0) + 1
        head = f"HTTP/1.1 {status} {REASONS[status]}\r\n{headers}content-type: application/json\r\n"
        self.transport.write(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)


COMPLETION = json.dumps(
    {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 400, "completion_tokens": 450, "total_tokens": 850},
    }
).encode()


async def serve(settings: Settings) -> None:
    """Serve until killed."""
    loop = asyncio.get_running_loop()
    cluster = Cluster(settings)
    addresses = []
    for replica in cluster.replicas:
        server = await loop.create_server(
            lambda replica=replica: Connection(replica), "127.0.0.1", 0, backlog=1024
        )
        addresses.append(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    print(json.dumps(addresses), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in Settings().__dict__.items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    asyncio.run(serve(Settings(**vars(parser.parse_args()))))
