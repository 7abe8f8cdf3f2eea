import hashlib
import http.client
import json
import random
import resource
import sqlite3
import threading
import time
from urllib.parse import urlsplit

import pytest
from hub_support import file, header, ndjson, start_hub, upload_lfs, xet_chunk, xet_name, xet_shard

from hub_tools.hub.server.blobs import BlobStore
from hub_tools.hub.server.checking import check
from hub_tools.hub.server.database import Database


class Writer(threading.Thread):
    """Commits three files of one version again and again until the server is gone."""

    def __init__(self, hub, version):
        super().__init__()
        self.hub, self.version, self.acknowledged = hub, version, {}
        self.busy = threading.Event()

    def run(self):
        try:
            while True:
                version = b"%d " % (self.version + 1)
                large = upload_lfs(self.hub, "demo/crash", version * 50_000)
                large["value"]["path"] = "large.bin"
                lines = [
                    header(version.decode()),
                    file("small.txt", version),
                    large,
                    file("mid.txt", version * 99),
                ]
                answer = self.hub.request("POST", "/api/models/demo/crash/commit/main", ndjson(*lines))
                self.acknowledged[self.version + 1] = answer.json["commitOid"]
                self.version += 1
                self.busy.set()
        except (OSError, http.client.HTTPException, json.JSONDecodeError):
            return


def versions(hub, revision="main"):
    found = {}
    for path in ("small.txt", "mid.txt", "large.bin"):
        answer = hub.request("GET", f"/demo/crash/resolve/{revision}/{path}")
        assert answer.status == 200, path
        found[path] = {int(word) for word in answer.body.split()}
    return found


def test_killed_server_has_the_old_commit_or_the_new_one(tmp_path):
    hub = start_hub(tmp_path / "store")
    hub.api().create_repo("demo/crash")
    rng, version, acknowledged = random.Random(7), 0, {}
    for _ in range(6):
        writer = Writer(hub, version)
        writer.start()
        assert writer.busy.wait(30)
        time.sleep(rng.uniform(0, 0.2))
        hub.kill()
        writer.join()
        acknowledged |= writer.acknowledged
        hub = start_hub(hub.store, port=hub.port)
        assert list((hub.store / "incoming").iterdir()) == []
        assert check(hub.store).problems == []
        (head,) = set.union(*versions(hub).values())
        assert head in (writer.version, writer.version + 1)
        version = head
    history = {c.commit_id: c.title for c in hub.api().list_repo_commits("demo/crash")}
    for number, commit in acknowledged.items():
        assert history[commit] == f"{number} "
    assert versions(hub, acknowledged[min(acknowledged)])["mid.txt"] == {min(acknowledged)}
    hub.stop()


def api(hub, method, path, body=None):
    answer = hub.request(method, path, body)
    assert answer.status == 200, answer.body
    return answer.json


def tag_and_move(hub, number):
    name = f"demo/m{number}"
    api(hub, "POST", "/api/repos/create", {"name": name})
    api(hub, "POST", f"/api/models/{name}/tag/main", {"tag": "v1"})
    api(hub, "POST", f"/api/models/{name}/duplicate", {"repository": f"{name}-twin"})
    api(hub, "POST", "/api/repos/move", {"fromRepo": name, "toRepo": f"{name}-moved"})


def has_moved(hub, number):
    assert hub.request("GET", f"/api/models/demo/m{number}/revision/v1").status == 307
    for name in ("moved", "twin"):
        assert hub.request("GET", f"/api/models/demo/m{number}-{name}/revision/v1").status == 200


def propose_and_merge(hub, number):
    lines = ndjson(header(), file(f"pr{number}.txt", b"x"))
    opened = api(hub, "POST", "/api/models/demo/work/commit/main?create_pr=1", lines)["pullRequestUrl"]
    api(hub, "POST", f"/api/models/demo/work/discussions/{opened.rpartition('/')[2]}/merge", {})


def has_merged(hub, number):
    assert hub.request("GET", f"/demo/work/resolve/main/pr{number}.txt").body == b"x"


def send_by_xet(hub, number):
    parts = [b"%d " % number * 9000, b"." * 70_000]
    sha, xorb = hashlib.sha256(b"".join(parts)), hashlib.sha256(b"%d" % number).digest()
    granted = api(hub, "GET", "/api/datasets/demo/data/xet-write-token/main")
    storage, token = urlsplit(granted["casUrl"]).path, granted["accessToken"]
    body = b"".join(map(xet_chunk, parts))
    for path, sent in [
        (f"/v1/xorbs/default/{xet_name(xorb)}", body),
        ("/v1/shards", xet_shard(parts, sha=xet_hash_bytes(sha), xorb=xorb)),
    ]:
        assert hub.request("POST", storage + path, sent, token=token).status == 200
    line = {"path": f"{number}.bin", "algo": "sha256", "oid": sha.hexdigest()}
    lines = ndjson(header(), {"key": "lfsFile", "value": line})
    api(hub, "POST", "/api/datasets/demo/data/commit/main", lines)


def xet_hash_bytes(sha):
    """A sha256 in the order of bytes in which Xet's records hold it."""
    return b"".join(sha.digest()[at : at + 8][::-1] for at in range(0, 32, 8))


def has_come_by_xet(hub, number):
    expected = b"%d " % number * 9000 + b"." * 70_000
    assert hub.request("GET", f"/datasets/demo/data/resolve/main/{number}.bin").body == expected


STEPS = [(tag_and_move, has_moved), (propose_and_merge, has_merged), (send_by_xet, has_come_by_xet)]


def repeat_until_killed(step, hub, start, done, busy):
    try:
        for number in range(start, start + 1000):
            step(hub, number)
            done.append(number)
            busy.set()
    except (OSError, http.client.HTTPException, json.JSONDecodeError):
        return


def test_killed_in_the_middle_of_anything_a_store_is_whole(tmp_path):
    hub = start_hub(tmp_path / "store")
    hub.api().create_repo("demo/work")
    hub.api().create_repo("demo/data", repo_type="dataset")
    rng, acknowledged = random.Random(11), [[] for _ in STEPS]
    for attempt in range(5):
        busy = [threading.Event() for _ in STEPS]
        workers = [
            threading.Thread(target=repeat_until_killed, args=(step, hub, attempt * 1000, done, begun))
            for (step, _), done, begun in zip(STEPS, acknowledged, busy, strict=True)
        ]
        for worker in workers:
            worker.start()
        assert all(begun.wait(30) for begun in busy)
        time.sleep(rng.uniform(0, 0.2))
        hub.kill()
        for worker in workers:
            worker.join()
        report = check(hub.store)
        assert report.problems == []
        hub = start_hub(hub.store, port=hub.port)
    for (_, holds), done in zip(STEPS, acknowledged, strict=True):
        for number in done:
            holds(hub, number)
    hub.stop()


def test_upload_over_the_room_that_is_left_is_507_and_the_server_goes_on(tmp_path):
    hub = start_hub(tmp_path / "store")
    hub.api().create_repo("demo/full")
    large = b"\0" * (3 << 20)
    sha = hashlib.sha256(large).hexdigest()
    before = resource.prlimit(hub.process.pid, resource.RLIMIT_FSIZE, (2 << 20, -1))
    wanted = {"operation": "upload", "objects": [{"oid": sha, "size": len(large)}]}
    action = api(hub, "POST", "/demo/full.git/info/lfs/objects/batch", wanted)["objects"][0]["actions"]
    address = urlsplit(action["upload"]["href"])
    refused = hub.request("PUT", f"{address.path}?{address.query}", large, token="")
    assert (refused.status, "is full" in refused.json["error"]) == (507, True)
    lines = ndjson(header(), file("large.txt", b"x" * (3 << 20)))
    assert hub.request("POST", "/api/models/demo/full/commit/main", lines).status == 507
    api(hub, "POST", "/api/models/demo/full/commit/main", ndjson(header(), file("small.txt", b"x")))
    assert list((hub.store / "incoming").iterdir()) == []
    resource.prlimit(hub.process.pid, resource.RLIMIT_FSIZE, before)
    assert hub.request("PUT", f"{address.path}?{address.query}", large, token="").status == 200
    hub.stop()
    assert check(hub.store).problems == []
    assert "Traceback" not in (hub.store / "test.log").read_text()


def test_full_disk_leaves_no_half_file(tmp_path):
    blobs = BlobStore(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            blobs.put(b"x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_full_database_loses_only_the_transaction_that_did_not_fit(tmp_path):
    database = Database(tmp_path / "hub.sqlite")
    with database.write() as db:
        db.execute("INSERT INTO meta VALUES('before', 'x')")

    def too_much():
        with database.write() as db:
            pages = db.execute("PRAGMA page_count").fetchone()[0]
            db.execute(f"PRAGMA max_page_count = {pages + 1}")
            db.execute("INSERT INTO meta VALUES('small', 'x')")
            db.execute("INSERT INTO meta VALUES('large', ?)", ("x" * 100_000,))

    with pytest.raises(sqlite3.OperationalError, match="full"):
        too_much()
    with database.write() as db:
        db.execute("INSERT INTO meta VALUES('after', 'x')")
    with database.read() as db:
        assert {row[0] for row in db.execute("SELECT key FROM meta")} == {"before", "after"}
