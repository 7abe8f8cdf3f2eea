import hashlib
import re
import shutil
import sqlite3
import subprocess
import sys

import pytest
from hub_support import OTHER_TOKEN, ROOT, commit, file, header, ndjson, start_hub, upload_lfs
from huggingface_hub import CommitOperationAdd

from hub_tools.hub.server import HubServerError
from hub_tools.hub.server.blobs import BlobStore
from hub_tools.hub.server.checking import check
from hub_tools.hub.server.sweeping import sweep

LARGE = bytes(range(256)) * 4000
DOOMED = LARGE[::-1] + b"x"


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The store of a Hub that has been used through both transports and stopped."""
    hub = start_hub(tmp_path_factory.mktemp("used") / "store")
    api = hub.api()
    api.create_repo("demo/kept")
    api.create_commit(
        "demo/kept",
        [CommitOperationAdd("l.bin", LARGE), CommitOperationAdd("t.txt", b"text")],
        commit_message="x",
    )
    api.create_commit("demo/kept", [CommitOperationAdd("p.txt", b"pr")], commit_message="x", create_pr=True)
    api.create_tag("demo/kept", tag="v1")
    api.create_repo("demo/doomed", repo_type="dataset")
    api.create_commit(
        "demo/doomed", [CommitOperationAdd("d.bin", DOOMED)], repo_type="dataset", commit_message="x"
    )
    api.delete_repo("demo/doomed", repo_type="dataset")
    upload_lfs(hub, "demo/kept", b"never committed")
    with pytest.raises(HubServerError, match="already served by another Hub"):
        sweep(hub.store)
    assert check(hub.store).problems == []
    hub.stop()
    return hub.store


@pytest.fixture
def store(stopped, tmp_path):
    return shutil.copytree(stopped, tmp_path / "store")


def backforth(*arguments):
    command = [sys.executable, "-m", "hub_tools", "hub", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_collection_frees_what_no_commit_names_and_nothing_else(store):
    plan = sweep(store, dry_run=True, grace_hours=0)
    assert (plan.files, plan.xorbs > 0, plan.freed > len(LARGE)) == (2, True, True)
    assert check(store).orphans == 2
    assert sweep(store, grace_hours=0) == plan
    again = sweep(store)
    assert (again.files, again.xorbs, again.freed, again.kept) == (0, 0, 0, plan.kept)
    report = check(store)
    assert (report.problems, report.orphans, report.xorbs) == ([], 0, 0)
    hub = start_hub(store)
    try:
        assert hub.request("GET", "/demo/kept/resolve/v1/l.bin").body == LARGE
        # The default client believes that chunks it has sent are there still, unless the address has changed.
        hub.api().create_repo("demo/doomed", repo_type="dataset")
        adds = [CommitOperationAdd("d.bin", DOOMED)]
        hub.api().create_commit("demo/doomed", adds, repo_type="dataset", commit_message="again")
        assert hub.request("GET", "/datasets/demo/doomed/resolve/main/d.bin").body == DOOMED
    finally:
        hub.stop()


def any_file(store, size):
    return next(path for path in BlobStore(store).files() if path.stat().st_size == size)


def flip(path, at=1):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def change(store, statement, *values):
    with sqlite3.connect(store / "hub.sqlite") as db:
        assert db.execute(statement, values).rowcount == 1
    db.close()


DAMAGE = {
    "flipped bit": (
        lambda s: flip(any_file(s, len(LARGE))),
        "model demo/kept@.*:l.bin: its content has the sha256",
    ),
    "missing file": (
        lambda s: any_file(s, len(LARGE)).unlink(),
        "model demo/kept@.*:l.bin: its content .* is missing",
    ),
    "cut file": (lambda s: any_file(s, 4).write_bytes(b"te"), "t.txt: its content has the sha256"),
    "xorb": (lambda s: flip(next(BlobStore(s).xorbs())), "xorb .* backforth hub gc"),
    "ref": (
        lambda s: change(s, "UPDATE refs SET oid = ? WHERE name = 'refs/tags/v1'", "0" * 40),
        "model demo/kept: refs/tags/v1 points to the commit 0000",
    ),
    "main": (
        lambda s: change(s, "DELETE FROM refs WHERE name = 'refs/heads/main'"),
        "the branch main is missing",
    ),
    "parent": (
        lambda s: change(s, "DELETE FROM commits WHERE parent IS NULL"),
        "has the parent .*, which is missing",
    ),
    "tree": (
        lambda s: change(s, "UPDATE commits SET tree = x'00' WHERE parent IS NULL"),
        "the list of its files is damaged",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named_and_exit_code_1(store, name):
    damage, message = DAMAGE[name]
    damage(store)
    done = backforth("fsck", "--store", str(store))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    *problems, summary = done.stdout.splitlines()
    assert any(re.search(message, problem) for problem in problems), done.stdout
    assert f"{len(problems)} problems" in summary


def test_clean_store_is_exit_code_0_and_one_line(store):
    done = backforth("fsck", "--store", str(store))
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1)
    assert done.stdout.startswith("1 repos, 3 commits,")
    dry = backforth("gc", "--dry-run", "--store", str(store))
    assert (dry.returncode, dry.stdout.startswith("would free")) == (0, True)


@pytest.mark.parametrize("verb", ["fsck", "gc"])
def test_folder_without_a_hub_is_one_line(tmp_path, verb):
    done = backforth(verb, "--store", str(tmp_path / "none"))
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert not (tmp_path / "none").exists()


def test_tokens_come_and_go_while_the_hub_runs(tmp_path):
    hub = start_hub(tmp_path / "store")
    where = ("--store", str(hub.store))
    try:
        read, write = (
            backforth("token", "ann", "--role", role, *org, *where).stdout.strip()
            for role, org in (("read", ()), ("write", ("--org", "lab")))
        )
        ann = hub.api(write).whoami()
        assert (ann["name"], ann["auth"]["accessToken"]["role"], [org["name"] for org in ann["orgs"]]) == (
            "ann",
            "write",
            ["lab"],
        )
        for repo in ("ann/own", "lab/shared"):
            hub.api(write).create_repo(repo, private=True)
            assert hub.api(read).model_info(repo).private
            assert hub.request("GET", f"/api/models/{repo}").status == 404
        body = ndjson(header(), file("a.txt", b"x"))
        assert hub.request("POST", "/api/models/lab/shared/commit/main", body, token=read).status == 403
        assert (
            hub.request("POST", "/api/models/lab/shared/commit/main", body, token=OTHER_TOKEN).status == 404
        )
        bob = backforth("token", "bob", "--org", "lab", *where).stdout.strip()
        assert hub.request("POST", "/api/models/lab/shared/commit/main", body, token=bob).status == 200
        assert [user.username for user in hub.api().list_organization_members("lab")] == ["ann", "bob"]
        cookie = hub.request("POST", "/login", f"token={bob}&next=/", token="").headers["Set-Cookie"]
        session = {"Cookie": cookie.partition(";")[0]}
        assert hub.request("GET", "/api/models/lab/shared", token="", headers=session).status == 200
        listed = backforth("tokens", *where).stdout
        assert "ann  read  lab\nann  write  lab\nbob  write  lab" in listed
        assert not any(token in listed for token in (read, write, bob))
        assert backforth("revoke", "ann", "--role", "write", *where).stdout == "1 token of ann revoked\n"
        assert hub.request("GET", "/api/models/ann/own", token=write).status == 401
        assert hub.request("GET", "/api/models/ann/own", token=read).status == 200
        assert backforth("revoke", "nobody", *where).returncode == 1
        assert backforth("revoke", "bob", *where).returncode == 0
        assert hub.request("GET", "/api/models/lab/shared", token="", headers=session).status == 401
        assert "stays" in backforth("revoke", "demo", *where).stderr
        assert hub.api().whoami()["name"] == "demo"
    finally:
        hub.stop()


def test_name_is_a_user_or_an_organisation_but_not_both(tmp_path):
    where = ("--store", str(tmp_path / "store"))
    assert backforth("token", "ann", "--org", "lab", *where).returncode == 0
    for arguments in (("lab",), ("eve", "--org", "ann"), ("a/b",), ("api",)):
        done = backforth("token", *arguments, *where)
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1), arguments


def test_slip_in_the_token_file_of_a_running_hub_locks_nobody_out(tmp_path):
    hub = start_hub(tmp_path / "store")
    try:
        kept = (hub.store / "tokens.json").read_text()
        assert hub.api().whoami()["name"] == "demo"
        (hub.store / "tokens.json").write_text("[{")
        assert hub.api().whoami()["name"] == "demo"
        (hub.store / "tokens.json").write_text(kept)
    finally:
        hub.stop()


def test_lost_content_is_told_and_takes_nothing_else_down(store):
    (store / "blobs").rename(store / "elsewhere")
    hub = start_hub(store)
    try:
        for path in ("l.bin", "t.txt"):
            lost = hub.request("GET", f"/demo/kept/resolve/main/{path}")
            assert (lost.status, b"backforth hub fsck" in lost.body) == (410, True)
        assert [model.id for model in hub.api().list_models()] == ["demo/kept"]
        assert hub.request("GET", "/demo/kept/resolve/main/none.txt").status == 404
    finally:
        hub.stop()


def test_collection_frees_what_was_erased_without_its_history(store):
    hub = start_hub(store)
    try:
        hub.api().permanently_delete_lfs_files(
            "demo/kept", hub.api().list_lfs_files("demo/kept"), rewrite_history=False
        )
    finally:
        hub.stop()
    assert sweep(store).files == 2
    assert check(store).problems == []


def test_collection_leaves_uploads_that_a_commit_may_still_name(store):
    assert sweep(store).files == 1
    hub = start_hub(store)
    try:
        line = {"path": "late.bin", "oid": hashlib.sha256(b"never committed").hexdigest()}
        commit(hub, "demo/kept", {"key": "lfsFile", "value": line})
        assert hub.request("GET", "/demo/kept/resolve/main/late.bin").body == b"never committed"
    finally:
        hub.stop()
    assert check(store).problems == []


def test_store_of_the_first_version_is_brought_up_to_date(store):
    with sqlite3.connect(store / "hub.sqlite") as db:
        db.executescript(
            "DROP TABLE events; DROP TABLE discussions; DROP TABLE access_requests; DROP TABLE objects;"
            "DROP TABLE attachments; PRAGMA user_version = 1;"
        )
    db.close()
    hub = start_hub(store)
    try:
        (found,) = hub.api().get_repo_discussions("demo/kept")
        assert (found.num, found.is_pull_request, found.status) == (1, True, "open")
        hub.api().merge_pull_request("demo/kept", 1)
        assert hub.request("GET", "/demo/kept/resolve/main/p.txt").body == b"pr"
        assert hub.request("GET", "/demo/kept/resolve/main/l.bin").body == LARGE
    finally:
        hub.stop()
