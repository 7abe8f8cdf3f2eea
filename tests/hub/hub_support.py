"""A real embedded Hub in a child process, and a plain HTTP client for what the official one cannot send."""

import base64
import hashlib
import http.client
import json
import os
import re
import signal
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import HfApi

ROOT = Path(__file__).parents[2]
OTHER_TOKEN = "hf_other_writes"
READER_TOKEN = "hf_demo_reads"


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


@dataclass
class Hub:
    endpoint: str
    token: str
    store: Path
    process: subprocess.Popen

    @property
    def port(self) -> int:
        return urlsplit(self.endpoint).port

    def api(self, token=None) -> HfApi:
        return HfApi(endpoint=self.endpoint, token=self.token if token is None else token)

    def request(self, method, path, body=None, token=None, headers=None) -> Answer:
        """Send one request as it is; token None is the owner's, "" is none at all."""
        sent = dict(headers or {})
        if token != "" and "Authorization" not in sent:
            sent["Authorization"] = f"Bearer {token or self.token}"
        if isinstance(body, dict | list):
            sent.setdefault("Content-Type", "application/json")
            body = json.dumps(body)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def env(self, home: Path, **extra) -> dict[str, str]:
        """The environment of a client that is told only where the Hub is."""
        keep = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
        fixed = {"HF_ENDPOINT": self.endpoint, "HF_TOKEN": self.token, "HF_HOME": str(home)}
        return keep | fixed | {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"} | extra

    def client(self, script: str, home: Path, **extra) -> dict:
        """Run a client program in a process of its own; its last line is its result in JSON."""
        done = subprocess.run(
            [sys.executable, "-c", script],
            check=False,
            env=self.env(home, **extra),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=15)


def start_hub(store: Path, *arguments: str, port: int = 0) -> Hub:
    store.mkdir(exist_ok=True)
    if not (store / "tokens.json").exists():
        others = [
            {"token": OTHER_TOKEN, "user": "other", "role": "write"},
            {"token": READER_TOKEN, "user": "demo", "role": "read"},
        ]
        (store / "tokens.json").write_text(json.dumps(others))
    command = [sys.executable, "-m", "hub_tools.hub.server", "--store", str(store), "--port", str(port)]
    log = (store / "test.log").open("ab")
    process = subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT
    )
    first = process.stdout.readline()
    found = re.fullmatch(r"export HF_ENDPOINT=(\S+) HF_TOKEN=(\S+)\n", first)
    assert found, (store / "test.log").read_text()
    return Hub(found[1], found[2], store, process)


def header(summary="a commit", **more) -> dict:
    return {"key": "header", "value": {"summary": summary, "description": "", **more}}


def file(path: str, data: bytes) -> dict:
    content = base64.b64encode(data).decode()
    return {"key": "file", "value": {"path": path, "content": content, "encoding": "base64"}}


def ndjson(*lines: dict) -> bytes:
    return b"\n".join(json.dumps(line).encode() for line in lines)


def upload_lfs(hub: Hub, repo: str, data: bytes) -> dict:
    """Send an object by the LFS protocol; returns the commit line that names it."""
    sha = hashlib.sha256(data).hexdigest()
    wanted = {"operation": "upload", "transfers": ["basic"], "objects": [{"oid": sha, "size": len(data)}]}
    action = hub.request("POST", f"/{repo}.git/info/lfs/objects/batch", wanted).json["objects"][0]
    if "actions" in action:
        href = urlsplit(action["actions"]["upload"]["href"])
        assert hub.request("PUT", f"{href.path}?{href.query}", data, token="").status == 200
    return {"key": "lfsFile", "value": {"path": "", "algo": "sha256", "oid": sha, "size": len(data)}}


def commit(hub: Hub, repo: str, *lines: dict) -> str:
    """Commit to a model repo without the official client's own checks; returns the commit's id."""
    answer = hub.request("POST", f"/api/models/{repo}/commit/main", ndjson(header(), *lines))
    assert answer.status == 200, answer.body
    return answer.json["commitOid"]


def xet_name(raw: bytes) -> str:
    """How the Xet protocol writes a hash of 32 bytes."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", raw))


def xet_chunk(stored: bytes, size: int | None = None, scheme: int = 0) -> bytes:
    lengths = len(stored).to_bytes(3, "little"), (len(stored) if size is None else size).to_bytes(3, "little")
    return b"\0" + lengths[0] + bytes([scheme]) + lengths[1] + stored


def xet_shard(parts, first=0, end=None, sha=None, xorb=b"x" * 32) -> bytes:
    """A shard of one file that takes chunks first to end of one xorb."""
    end = len(parts) if end is None else end
    size = sum(len(part) for part in parts[first:end])
    head = b"HFRepoMetaData\0".ljust(48, b"\0")
    flags = (1 << 30 if sha else 0) | 1 << 31
    record = b"f" * 32 + struct.pack("<IIQ", flags, 1, 0)
    segment = xorb + struct.pack("<IIII", 0, size, first, end)
    body = head + record + segment + b"v" * 48
    return body + (sha + bytes(16) if sha else b"") + b"\xff" * 32 + bytes(16)
