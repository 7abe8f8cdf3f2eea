"""A cluster of simulated TGI servers: slots, a queue, log-normal latency, 429 past the limit, and faults.

It generates nothing, so two cores can show what a client does with hundreds of slots: an answer holds the
sha256 of its request, so the same request always gets the same answer. Every replica listens on a port of its
own; the first line printed is a JSON list of their addresses. `GET /stats` tells how much of the slots' time
was used up to the last arrival of a new request, and starts anew.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

REASONS = {200: "OK", 404: "Not Found", 429: "Too Many Requests", 503: "Service Unavailable"}
DIGEST = "0" * 64  # where an answer holds the sha256 of its request
TEXT = f"[RES]{DIGEST} {'A sentence of the answer, with some words in it. ' * 40}[/RES]"
HOST = "127.0.0.2"  # of this machine, and yet no localhost, to which some clients talk in other ways


@dataclass
class Settings:
    """What the cluster is like; `median` and `sigma` are those of the log-normal time of an answer, and the
    faults are shares of the requests.
    """

    replicas: int = 4
    slots: int = 128
    limit: int = 128
    median: float = 2.0
    sigma: float = 1.0
    overloaded: float = 0.0
    unavailable: float = 0.0
    hangs: float = 0.0
    torn: float = 0.0
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
        self.sent: Counter[str] = Counter()
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
        useful_share = share * useful / ended if ended else 0.0
        found = {"used": share, "useful": useful_share, "answers": dict(sorted(self.sent.items()))}
        self.reset()
        return found


@dataclass(eq=False)
class Work:
    """A request that a replica has taken, and the answer that it will get."""

    connection: Connection
    digest: str
    came: float
    began: float = 0.0
    ends: asyncio.TimerHandle | None = None


@dataclass
class Replica:
    """One server."""

    cluster: Cluster
    usage: Usage = field(default_factory=Usage)
    running: set[Work] = field(default_factory=set)
    queue: deque[Work] = field(default_factory=deque)

    def arrives(self, connection: Connection, body: bytes) -> Work | None:
        """Take a request in, or turn it away; every other 429 says when to come back."""
        settings, cluster = self.cluster.settings, self.cluster
        now = asyncio.get_running_loop().time()
        cluster.arrival(body, now)
        full = len(self.running) + len(self.queue) >= settings.limit
        if full or cluster.random.random() < settings.overloaded:
            after = cluster.random.choice(("", "retry-after: 1\r\n"))
            connection.fail(429, "Model is overloaded", "overloaded", after)
            return None
        work = Work(connection, hashlib.sha256(body).hexdigest(), now)
        if len(self.running) < settings.slots:
            self.starts(work)
        else:
            self.queue.append(work)
        return work

    def starts(self, work: Work) -> None:
        settings, chance = self.cluster.settings, self.cluster.random
        loop = asyncio.get_running_loop()
        work.began = loop.time()
        self.usage.until(work.began)
        self.usage.busy += 1
        self.running.add(work)
        if chance.random() < settings.hangs:
            self.cluster.sent["hangs"] += 1
        else:
            seconds = settings.median * chance.lognormvariate(0, settings.sigma)
            work.ends = loop.call_later(seconds, self.ends, work)

    def ends(self, work: Work) -> None:
        settings, chance = self.cluster.settings, self.cluster.random.random()
        if chance < settings.unavailable:
            self.leaves(work)
            work.connection.fail(503, "unhealthy", "healthcheck")
        elif chance < settings.unavailable + settings.torn:
            self.leaves(work)
            work.connection.tear(work.digest)
        else:
            self.leaves(work, useful=True)
            work.connection.complete(work.digest, work.began - work.came)

    def leaves(self, work: Work, useful: bool = False) -> None:
        """Give a request's slot to the next, whether it got an answer or its client hung up."""
        if work not in self.running:
            self.queue.remove(work)
            return
        now = asyncio.get_running_loop().time()
        self.usage.until(now)
        self.usage.busy -= 1
        self.running.remove(work)
        self.usage.useful += (now - work.began) * useful
        self.usage.wasted += (now - work.began) * (not useful)
        if work.ends:
            work.ends.cancel()
        if self.queue:
            self.starts(self.queue.popleft())

    def info(self) -> dict[str, Any]:
        limit = self.cluster.settings.limit
        return {"model_id": "demo/simulated", "model_sha": "0" * 40, "max_concurrent_requests": limit}


class Connection(asyncio.Protocol):
    """Just enough HTTP/1.1 for a client that sends one request after the other."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.received = b""
        self.work: Work | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def connection_lost(self, _: Exception | None) -> None:
        if self.work:
            self.replica.leaves(self.work)

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
            self.work = self.replica.arrives(self, body)
        elif path == b"/info":
            self.answer(200, self.replica.info())
        elif path == b"/stats":
            self.answer(200, self.replica.cluster.stats())
        elif path.endswith(b"/v1/models"):  # datatrove asks remote servers for /v1/v1/models
            self.answer(200, {"object": "list", "data": [{"id": "demo/simulated", "object": "model"}]})
        else:
            self.answer(200 if path == b"/health" else 404, {})

    def answer(self, status: int, body: Any, headers: str = "") -> None:
        self.send(status, json.dumps(body).encode(), headers)

    def fail(self, status: int, message: str, kind: str, headers: str = "") -> None:
        """Answer with an error, in TGI's form."""
        self.count(str(status))
        self.answer(status, {"error": message, "error_type": kind}, headers)

    def complete(self, digest: str, queued: float) -> None:
        """Answer as the model does."""
        self.count("200")
        self.send(200, completion(digest), f"x-queue-time: {round(queued * 1000)}\r\n")

    def tear(self, digest: str) -> None:
        """Answer with half of it: now as if that were all, now with the connection lost on the way."""
        self.count("torn")
        content = completion(digest)
        half = content[: len(content) // 2]
        if self.replica.cluster.random.random() < 1 / 2:
            self.send(200, half)
        else:
            self.send(200, half, length=len(content))
            self.transport.close()

    def count(self, what: str) -> None:
        self.work = None
        self.replica.cluster.sent[what] += 1

    def send(self, status: int, content: bytes, headers: str = "", length: int | None = None) -> None:
        head = f"HTTP/1.1 {status} {REASONS[status]}\r\n{headers}content-type: application/json\r\n"
        whole = len(content) if length is None else length
        self.transport.write(f"{head}content-length: {whole}\r\n\r\n".encode() + content)


COMPLETION = json.dumps(
    {
        "id": "",
        "object": "chat.completion",
        "created": 0,
        "model": "demo/simulated",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 400, "completion_tokens": 450, "total_tokens": 850},
    }
).encode()


def completion(digest: str) -> bytes:
    """Return the answer to the request with that sha256."""
    return COMPLETION.replace(DIGEST.encode(), digest.encode())


async def serve(settings: Settings) -> None:
    """Serve until killed."""
    loop = asyncio.get_running_loop()
    cluster = Cluster(settings)
    addresses = []
    for replica in cluster.replicas:
        server = await loop.create_server(lambda replica=replica: Connection(replica), HOST, 0, backlog=1024)
        addresses.append(f"http://{HOST}:{server.sockets[0].getsockname()[1]}")
    print(json.dumps(addresses), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in Settings().__dict__.items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    asyncio.run(serve(Settings(**vars(parser.parse_args()))))
