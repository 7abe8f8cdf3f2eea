"""Publishing over a network and a Hub that fail at every turn: one commit in the end, nothing lost."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_proxy import Proxy, once
from run_support import ROOT, HubAddress

from hub_tools.errors import HubError
from hub_tools.hub import publishing
from hub_tools.hub.provenance import PROVENANCE, to_bytes
from hub_tools.hub.publishing import Files, publish
from hub_tools.hub.repository import Hub, Ref

PRINT = "ab" * 32


@pytest.fixture
def proxy(empty_hub: HubAddress) -> Iterator[Proxy]:
    with Proxy(empty_hub.endpoint) as proxy:
        yield proxy


@pytest.fixture
def hub(proxy: Proxy, empty_hub: HubAddress) -> Hub:
    return Hub(proxy.endpoint, empty_hub.token)


@pytest.fixture
def repo() -> str:
    return f"demo/publishing-{uuid.uuid4().hex[:8]}"


def statement(fingerprint: str, version: str) -> bytes:
    return to_bytes(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [],
            "predicateType": "https://slsa.dev/provenance/v1",
            "predicate": {
                "buildDefinition": {
                    "buildType": "urn:backforth:node:v1",
                    "externalParameters": {"node": "n", "stage": "s"},
                    "internalParameters": {
                        "fingerprint": fingerprint,
                        "stage_version": 1,
                        "version": version,
                    },
                    "resolvedDependencies": [],
                },
                "runDetails": {},
            },
        }
    )


def content(folder: Path, shards: int = 3, size: int = 300_000) -> Files:
    files: dict[str, Path | bytes] = {"README.md": b"# A card\n"}
    for number in range(shards):
        path = folder / f"{number}.bin"
        if not path.exists():
            path.write_bytes(os.urandom(size))
        files[f"data/{number}.bin"] = path
    return files


def push(hub: Hub, repo: str, files: Files, fingerprint: str = PRINT) -> Ref:
    def all_files(version: str, head: Ref) -> Files:
        return {**files, PROVENANCE: statement(fingerprint, version)}

    return publish(hub, repo, "dataset", fingerprint, all_files, "Publish")


def commits(empty_hub: HubAddress, repo: str) -> list[str]:
    api = Hub(empty_hub.endpoint, empty_hub.token).api
    return [commit.title for commit in api.list_repo_commits(repo, repo_type="dataset")]


def whole(empty_hub: HubAddress, ref: Ref, files: Files) -> bool:
    there = Hub(empty_hub.endpoint, empty_hub.token)
    return all(
        (path := there.file(ref, name)) is not None
        and path.read_bytes() == (source.read_bytes() if isinstance(source, Path) else source)
        for name, source in files.items()
    )


@pytest.mark.parametrize(
    "part",
    [
        "/api/repos/create",
        "/api/datasets/{repo}",
        "/refs",
        "/preupload/",
        "/commit/",
        "/tag/",
        "/xet-write-token/",
    ],
)
def test_a_rate_limit_is_waited_out(
    hub: Hub, proxy: Proxy, repo: str, empty_hub: HubAddress, tmp_path: Path, part: str
) -> None:
    hit = part.format(repo=repo)
    proxy.spoil = once("429", lambda request: hit in request.path)
    files = content(tmp_path, shards=1)
    ref = push(hub, repo, files)
    assert proxy.spoilt
    assert whole(empty_hub, ref, files)
    assert commits(empty_hub, repo) == ["Publish", "initial commit"]


@pytest.mark.parametrize("part", ["/xorbs/", "/shards", "/preupload/"])
def test_a_connection_that_drops_in_an_upload_costs_nothing(
    hub: Hub, proxy: Proxy, repo: str, empty_hub: HubAddress, tmp_path: Path, part: str
) -> None:
    proxy.spoil = once("drop", lambda request: request.method == "POST" and part in request.path)
    files = content(tmp_path)
    try:
        ref = push(hub, repo, files)
    except HubError:
        ref = push(hub, repo, files)
    assert proxy.spoilt
    assert whole(empty_hub, ref, files)
    assert commits(empty_hub, repo) == ["Publish", "initial commit"]


def test_a_commit_whose_answer_is_lost_is_not_made_twice(
    hub: Hub, proxy: Proxy, repo: str, empty_hub: HubAddress, tmp_path: Path
) -> None:
    proxy.spoil = once("lose", lambda request: "/commit/" in request.path)
    files = content(tmp_path, shards=1)
    ref = push(hub, repo, files)
    assert ref.version == "v1"
    assert proxy.spoilt
    assert whole(empty_hub, ref, files)
    assert commits(empty_hub, repo) == ["Publish", "initial commit"]


def test_tags_that_a_crash_left_out_are_put_there_without_another_commit(
    hub: Hub, proxy: Proxy, repo: str, empty_hub: HubAddress, tmp_path: Path
) -> None:
    proxy.spoil = lambda request: "drop" if "/tag/" in request.path else None
    files = content(tmp_path, shards=1)
    with pytest.raises(HubError, match="does not answer"):
        push(hub, repo, files)
    proxy.spoil = lambda request: None
    ref = push(hub, repo, files)
    assert proxy.spoilt
    assert hub.find(repo, "dataset", PRINT) == ref
    assert commits(empty_hub, repo) == ["Publish", "initial commit"]


def test_another_publisher_is_told_from_oneself(
    hub: Hub, repo: str, empty_hub: HubAddress, tmp_path: Path
) -> None:
    files = content(tmp_path, shards=1)

    def rival(fingerprint: str) -> Ref:
        def late(version: str, head: Ref) -> Files:
            push(Hub(empty_hub.endpoint, empty_hub.token), repo, files, fingerprint)
            return {**files, PROVENANCE: statement(PRINT, version), "late.txt": b"late"}

        return publish(hub, repo, "dataset", PRINT, late, "Publish")

    with pytest.raises(HubError, match=r"412 .*somebody else published meanwhile, run again"):
        rival("cd" * 32)
    # The same fingerprint means the same content: the other's commit is as good.
    assert rival(PRINT) == hub.find(repo, "dataset", PRINT)


def test_an_upload_that_was_killed_goes_on_where_it_ended(
    hub: Hub, proxy: Proxy, repo: str, empty_hub: HubAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over LFS, as in a process whose Xet is turned off: it cannot dedupe by itself."""
    files = content(tmp_path, shards=6)
    program = f"""
import sys
sys.path[:0] = [{str(Path(__file__).parent)!r}]
import test_run_publishing as here
from pathlib import Path
from hub_tools.hub.repository import Hub
from hub_tools.hub import publishing
publishing.BATCH_BYTES = 1
hub = Hub({proxy.endpoint!r}, {empty_hub.token!r})
here.push(hub, {repo!r}, here.content(Path({str(tmp_path)!r}), shards=6))
"""
    environment = {**os.environ, "HF_HUB_DISABLE_XET": "1", "PYTHONPATH": str(ROOT)}
    sent: list[str] = []

    def stop_at_fourth(request: object) -> str | None:
        if request.method != "PUT":  # type: ignore[attr-defined]
            return None
        sent.append(request.path)  # type: ignore[attr-defined]
        return "drop" if len(sent) >= 4 else None

    proxy.spoil = stop_at_fourth
    process = subprocess.Popen([sys.executable, "-c", program], env=environment, stderr=subprocess.DEVNULL)
    for _ in range(600):
        if len(sent) >= 4 or process.poll() is not None:
            break
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
    process.kill()
    process.wait()
    assert len(sent) >= 4
    proxy.spoil, proxy.seen = (lambda request: None), []
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(proxy.requests("PUT", "")) == 3
    ref = hub.find(repo, "dataset", PRINT)
    assert ref is not None
    assert whole(empty_hub, ref, files)


def test_progress_is_told_in_bytes(
    hub: Hub, repo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "BATCH_BYTES", 300_000)
    files = content(tmp_path, shards=3)
    heard: list[tuple[int, int]] = []
    publish(
        hub,
        repo,
        "dataset",
        PRINT,
        lambda version, head: {**files, PROVENANCE: statement(PRINT, version)},
        "Publish",
        lambda done, total: heard.append((done, total)),
    )
    assert heard == [(0, 900_000), (300_000, 900_000), (600_000, 900_000), (900_000, 900_000)]


def test_a_hub_that_is_gone_is_one_line(repo: str, tmp_path: Path) -> None:
    with pytest.raises(HubError, match=r"http://127.0.0.1:9 does not answer .* is it up\?"):
        push(Hub("http://127.0.0.1:9", "hf_x"), repo, content(tmp_path, shards=1))
