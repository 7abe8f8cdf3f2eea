import hashlib
import subprocess

import pytest
from hub_support import file, header, ndjson, upload_lfs
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, RevisionNotFoundError

from hub_tools.hub.server import commits, repos
from hub_tools.hub.server.store import Store, prepare_folder


def add(path, data=b"x"):
    return CommitOperationAdd(path, data)


def test_adds_deletes_and_copies_in_one_commit(hub, repo):
    api = hub.api()
    first = api.create_commit(
        repo, [add("a/one.txt", b"1"), add("a/two.bin", b"\0" * 5000), add("b/x.txt")], commit_message="first"
    )
    second = api.create_commit(
        repo,
        [
            CommitOperationCopy("a/one.txt", "c/one.txt"),
            CommitOperationCopy("a/two.bin", "c/two.bin"),
            CommitOperationDelete("b/", is_folder=True),
            CommitOperationDelete("a/one.txt"),
            add("new.txt"),
        ],
        commit_message="second",
        commit_description="why",
        parent_commit=first.oid,
    )
    assert set(api.list_repo_files(repo)) == {
        ".gitattributes",
        "a/two.bin",
        "c/one.txt",
        "c/two.bin",
        "new.txt",
    }
    assert "a/one.txt" in api.list_repo_files(repo, revision=first.oid)
    history = api.list_repo_commits(repo)
    assert [(c.title, c.message) for c in history][:2] == [("second", "why"), ("first", "")]
    assert history[0].commit_id == second.oid
    assert history[0].authors == ["demo"]


def test_operations_apply_in_the_order_sent(hub, repo):
    api = hub.api()
    api.create_commit(repo, [add("d/old.txt")], commit_message="x")
    api.create_commit(
        repo, [CommitOperationDelete("d/", is_folder=True), add("d/new.txt")], commit_message="x"
    )
    assert api.list_repo_files(repo) == [".gitattributes", "d/new.txt"]


def test_stale_parent_is_refused_with_412_and_changes_nothing(hub, repo):
    api = hub.api()
    old = api.create_commit(repo, [add("a.txt", b"1")], commit_message="x").oid
    new = api.create_commit(repo, [add("a.txt", b"2")], commit_message="x").oid
    for stale in (old, "0" * 40):
        with pytest.raises(HfHubHTTPError) as refused:
            api.create_commit(repo, [add("a.txt", b"3")], commit_message="x", parent_commit=stale)
        assert refused.value.response.status_code == 412
    assert api.model_info(repo).sha == new


def test_only_branches_take_commits(hub, repo):
    api = hub.api()
    api.create_tag(repo, tag="v1")
    with pytest.raises(HfHubHTTPError) as refused:
        api.create_commit(repo, [add("a.txt")], commit_message="x", revision="v1")
    assert refused.value.response.status_code == 400
    with pytest.raises(RevisionNotFoundError):
        api.create_commit(repo, [add("a.txt")], commit_message="x", revision="missing")
    api.create_branch(repo, branch="dev/two")
    api.create_commit(repo, [add("a.txt")], commit_message="x", revision="dev/two")
    assert api.file_exists(repo, "a.txt", revision="dev/two")
    assert not api.file_exists(repo, "a.txt")


def test_pull_request_leaves_main_alone_and_takes_more_commits(hub, repo):
    api = hub.api()
    opened = api.create_commit(repo, [add("p.txt")], commit_message="x", create_pr=True)
    again = api.create_commit(repo, [add("p.txt", b"other")], commit_message="x", create_pr=True)
    assert (opened.pr_num, again.pr_num) == (1, 2)
    assert opened.pr_url == f"{hub.endpoint}/{repo}/discussions/1"
    api.create_commit(repo, [add("q.txt")], commit_message="x", revision="refs/pr/1")
    assert {"p.txt", "q.txt"} <= set(api.list_repo_files(repo, revision="refs/pr/1"))
    assert api.list_repo_files(repo) == [".gitattributes"]
    refs = api.list_repo_refs(repo, include_pull_requests=True)
    assert [ref.ref for ref in refs.pull_requests] == ["refs/pr/1", "refs/pr/2"]


def test_squash_keeps_files_and_tags_but_one_commit(hub, repo):
    api = hub.api()
    tagged = api.create_commit(repo, [add("a.txt", b"1")], commit_message="x").oid
    api.create_tag(repo, tag="v1")
    api.create_commit(repo, [add("a.txt", b"2")], commit_message="x")
    api.super_squash_history(repo)
    assert len(api.list_repo_commits(repo)) == 1
    assert hub.request("GET", f"/{repo}/resolve/main/a.txt").body == b"2"
    assert hub.request("GET", f"/{repo}/resolve/v1/a.txt").body == b"1"
    assert api.model_info(repo, revision="v1").sha == tagged


def test_ids_of_files_and_folders_are_those_of_git(hub, repo, tmp_path):
    # Git sorts a folder as if its name ended in a slash: s/a-b, s/a.txt, s/a.
    names = ["b.txt", "s/a/x.txt", "s/a-b/y.txt", "s/a.txt", "s/a/deep/z.txt", "s/empty"]
    contents = {name: name.encode() if name != "s/empty" else b"" for name in names}
    api = hub.api()
    api.create_commit(
        repo,
        [*(add(p, d) for p, d in contents.items()), CommitOperationDelete(".gitattributes")],
        commit_message="x",
    )
    for path, data in contents.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)

    def git(*arguments):
        return subprocess.run(
            ["git", *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    git("init", "-q")
    git("add", "-A")
    root = git("write-tree").strip()
    expected = {
        line.split("\t")[1]: line.split()[2] for line in git("ls-tree", "-r", "-t", root).splitlines()
    }
    found = {
        e.path: getattr(e, "blob_id", None) or e.tree_id for e in api.list_repo_tree(repo, recursive=True)
    }
    assert found == expected


def test_an_lfs_file_has_the_id_of_its_pointer(hub, repo):
    data = b"\0" * 1000
    hub.api().upload_file(path_or_fileobj=data, path_in_repo="w.safetensors", repo_id=repo)
    (entry,) = hub.api().get_paths_info(repo, ["w.safetensors"])
    sha = hashlib.sha256(data).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha}\nsize 1000\n".encode()
    assert entry.lfs.sha256 == sha
    assert entry.lfs.pointer_size == len(pointer)
    assert entry.blob_id == hashlib.sha1(b"blob %d\0" % len(pointer) + pointer).hexdigest()


def test_last_commit_is_the_one_that_changed_the_bytes(hub, repo):
    api = hub.api()
    first = api.create_commit(repo, [add("d/a.txt", b"1"), add("b.txt", b"1")], commit_message="first").oid
    # The plain request: the official client would leave the unchanged file out by itself.
    body = ndjson(header("second"), file("d/a.txt", b"1"), file("b.txt", b"2"))
    second = hub.request("POST", f"/api/models/{repo}/commit/main", body).json["commitOid"]
    entries = {e.path: e.last_commit.oid for e in api.list_repo_tree(repo, recursive=True, expand=True)}
    assert (entries["d/a.txt"], entries["d"], entries["b.txt"]) == (first, first, second)


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "/x",
        "a/../../x",
        "a//b",
        "./x",
        "..\\x",
        ".git/config",
        "a/.GIT/hooks/x",
        "a\\.git\\config",
        ".git./config",
        ".g\u200dit/config",
        ".git::$INDEX_ALLOCATION/config",
        "GIT~1/config",
        "",
        "a\nb",
        "x" * 300,
        "a/",
    ],
)
def test_unsafe_path_is_refused_by_preupload_and_commit(hub, repo, path):
    refused = hub.request("POST", f"/api/models/{repo}/commit/main", ndjson(header(), file(path, b"x")))
    assert refused.status == 422
    wanted = {"files": [{"path": path, "size": 1, "sample": ""}]}
    assert hub.request("POST", f"/api/models/{repo}/preupload/main", wanted).status == 422
    assert hub.api().list_repo_files(repo) == [".gitattributes"]


def test_a_name_cannot_be_file_and_folder(hub, repo):
    api = hub.api()
    api.create_commit(repo, [add("a/b.txt")], commit_message="x")
    with pytest.raises(HfHubHTTPError, match="both a file and a folder"):
        api.create_commit(repo, [add("a")], commit_message="x")
    with pytest.raises(HfHubHTTPError, match="both a file and a folder"):
        api.create_commit(repo, [add("a/b.txt/c")], commit_message="x")


def test_deleting_what_is_not_there_is_an_error(hub, repo):
    for operation in (CommitOperationDelete("no.txt"), CommitOperationDelete("no/", is_folder=True)):
        with pytest.raises(EntryNotFoundError):
            hub.api().create_commit(repo, [operation], commit_message="x")


def test_commit_cannot_name_an_object_that_was_not_uploaded_or_has_another_size(hub, repo):
    missing = {"path": "w.bin", "algo": "sha256", "oid": "0" * 64, "size": 5}
    body = ndjson(header(), {"key": "lfsFile", "value": missing})
    assert hub.request("POST", f"/api/models/{repo}/commit/main", body).status == 400
    line = upload_lfs(hub, repo, b"12345")
    line["value"] |= {"path": "w.bin", "size": 6}
    refused = hub.request("POST", f"/api/models/{repo}/commit/main", ndjson(header(), line))
    assert (refused.status, "5" in refused.json["error"]) == (400, True)


def test_same_work_at_the_same_moment_in_two_stores_has_different_commit_ids(tmp_path, monkeypatch):
    monkeypatch.setattr(commits, "now", lambda: "2026-01-01T00:00:00.000Z")
    ids = set()
    for name in ("one", "two"):
        store = Store(prepare_folder(tmp_path / name))
        with store.db.write() as db:
            made = repos.create(db, "model", "demo/twin", private=False)
            ids.add(commits.add(db, made, {}, parent=None, author="demo", title="x"))
    assert len(ids) == 2


def test_upload_folder_with_patterns_replaces_and_deletes(hub, repo, tmp_path):
    for name in ("keep.txt", "skip.log", "sub/a.bin"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode() * 3)
    api = hub.api()
    api.create_commit(repo, [add("old.txt"), add("sub/old.bin")], commit_message="x")
    api.upload_folder(repo_id=repo, folder_path=tmp_path, ignore_patterns="*.log", delete_patterns=["sub/*"])
    assert set(api.list_repo_files(repo)) == {".gitattributes", "old.txt", "keep.txt", "sub/a.bin"}


def test_twenty_writers_at_once_lose_nothing(hub, repo):
    from concurrent.futures import ThreadPoolExecutor

    def write(number):
        body = ndjson(header(), file(f"f{number}.txt", b"%d" % number))
        return hub.request("POST", f"/api/models/{repo}/commit/main", body).status

    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(write, range(60))) == {200}
    assert len(hub.api().list_repo_files(repo)) == 61
    assert len(hub.api().list_repo_commits(repo)) == 61
