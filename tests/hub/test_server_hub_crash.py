import http.client
import json
import random
import resource
import sqlite3
import threading
import time

import pytest
from hub_support import file, header, ndjson, start_hub, upload_lfs

from hub_tools.hub.server.blobs import BlobStore
from hub_tools.hub.server.database import Database


class Writer(threading.Thread):
    """Commits three files of one version again and again until the server is gone."""

    def __init__(self, hub, version):
        super().__init__()
        self.hub, self.version, self.acknowledged = hub, version, {}

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
        time.sleep(rng.uniform(0.1, 0.3))
        hub.kill()
        writer.join()
        acknowledged |= writer.acknowledged
        hub = start_hub(hub.store, port=hub.port)
        assert list((hub.store / "incoming").iterdir()) == []
        (head,) = set.union(*versions(hub).values())
        assert head in (writer.version, writer.version + 1)
        version = head
    history = {c.commit_id: c.title for c in hub.api().list_repo_commits("demo/crash")}
    assert len(acknowledged) > 6, "the server was killed too early to test anything"
    for number, commit in acknowledged.items():
        assert history[commit] == f"{number} "
    assert versions(hub, acknowledged[min(acknowledged)])["mid.txt"] == {min(acknowledged)}
    hub.stop()


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
