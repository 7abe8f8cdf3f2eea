import json
import os
import threading
import time
from pathlib import Path

import pytest
from hub_support import OTHER_TOKEN, commit, file, header, ndjson, upload_lfs
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitScheduler, HfFileSystem
from huggingface_hub.errors import HfHubHTTPError, RemoteEntryNotFoundError, RepositoryNotFoundError


def fresh(prefix):
    return f"demo/{prefix}-{os.urandom(4).hex()}"


def test_former_name_leads_to_the_present_one_for_every_operation(hub, repo):
    api, name = hub.api(), fresh("moved")
    api.upload_file(path_or_fileobj=b"x", path_in_repo="a.txt", repo_id=repo)
    api.move_repo(repo, name)
    answer = hub.request("GET", f"/api/models/{repo}/tree/main?recursive=true")
    assert (answer.status, answer.headers["Location"]) == (
        307,
        f"/api/models/{name}/tree/main?recursive=true",
    )
    for method, path in [
        ("HEAD", f"/{repo}/resolve/main/a.txt"),
        ("GET", f"/{repo}/raw/main/a.txt"),
        ("POST", f"/{repo}.git/info/lfs/objects/batch"),
        ("POST", f"/api/models/{repo}/commit/main"),
        ("GET", f"/api/models/{repo}/xet-write-token/main"),
    ]:
        body = {"operation": "upload", "objects": []} if "lfs" in path else None
        answer = hub.request(method, path, body)
        assert (answer.status, answer.headers["Location"]) == (307, path.replace(repo, name)), path
    assert api.model_info(repo).id == name
    assert Path(api.hf_hub_download(repo, "a.txt")).read_bytes() == b"x"
    added = [CommitOperationAdd("b.txt", b"y"), CommitOperationAdd("c.bin", b"\0" * 999)]
    api.create_commit(repo, added, commit_message="x")
    api.create_tag(repo, tag="v1")
    assert set(api.list_repo_files(name, revision="v1")) >= {"a.txt", "b.txt", "c.bin"}
    assert sorted(HfFileSystem(endpoint=hub.endpoint, token=hub.token).ls(repo, detail=False))[-1].endswith(
        "c.bin"
    )


def test_former_name_of_a_private_repo_tells_nothing(hub, repo):
    name = fresh("hidden")
    hub.api().update_repo_settings(repo, visibility="private")
    hub.api().move_repo(repo, name)
    answer = hub.request("GET", f"/api/models/{repo}", token=OTHER_TOKEN)
    assert (answer.status, "Location" in answer.headers, name.encode() in answer.body) == (404, False, False)


def test_names_are_found_in_any_case_and_taken_in_all(hub):
    name = fresh("CaSe")
    hub.api().create_repo(name)
    assert hub.api().model_info(name.lower()).id == name
    with pytest.raises(HfHubHTTPError, match="already exists"):
        hub.api().create_repo(name.upper().replace("DEMO", "demo"))


def test_names_without_namespace_are_missing_repos(hub):
    for method, path in [
        ("GET", "/api/models/gpt2"),
        ("GET", "/api/models/gpt2/commits/main"),
        ("GET", "/api/datasets/squad/tree/main"),
        ("HEAD", "/gpt2/resolve/main/config.json"),
        ("HEAD", "/datasets/squad/resolve/main/README.md"),
        ("DELETE", "/api/models/gpt2/like"),
    ]:
        answer = hub.request(method, path)
        assert (answer.status, answer.headers["X-Error-Code"]) == (404, "RepoNotFound"), path


@pytest.mark.parametrize(
    "path",
    [
        "/api/models/{}/jobs",
        "/api/buckets/demo/none",
        "/api/spaces/hardware",
        "/api/settings/webhooks",
        "/api/daily_papers",
        "/api/jobs/demo",
        "/api/buckets/demo/x",
    ],
)
def test_what_this_hub_does_not_do_is_a_clear_404(hub, repo, path):
    for method in ("GET", "POST", "PUT", "DELETE"):
        answer = hub.request(method, path.format(repo), {})
        assert answer.status in (404, 405)
        assert answer.json["error"]


def test_every_answer_has_an_id_of_its_own(hub, repo):
    paths = (
        f"/api/models/{repo}",
        "/api/models/demo/none",
        "/nothing/at/all/here",
        f"/{repo}/resolve/main/none",
    )
    ids = {hub.request("GET", path).headers["X-Request-Id"] for path in paths}
    assert len(ids) == len(paths)
    assert None not in ids
    for sent, kept in (("Root=1-abc;x", True), ("a\x01b", False), ("x" * 500, False)):
        answer = hub.request("GET", paths[0], headers={"X-Amzn-Trace-Id": sent})
        assert answer.headers["X-Request-Id"].endswith(f";{sent}") == kept
    assert hub.request("GET", paths[0], headers={"X-Request-Id": "mine"}).headers["X-Request-Id"] == "mine"


def test_new_space_has_a_card_with_its_sdk(hub):
    name = fresh("space")
    hub.api().create_repo(name, repo_type="space", space_sdk="gradio")
    assert b"sdk: gradio" in hub.request("GET", f"/spaces/{name}/resolve/main/README.md").body


def test_lists_are_filtered_by_task_gate_tag_and_search(hub, repo):
    api, word = hub.api(), repo.rpartition("-")[2]
    card = b"---\npipeline_tag: text-generation\nlicense: mit\n---\n"
    api.upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id=repo)
    for wanted, found in [
        ({"pipeline_tag": "text-generation"}, True),
        ({"pipeline_tag": "fill-mask"}, False),
        ({"filter": ["license:mit", "text-generation"]}, True),
        ({"filter": "license:apache-2.0"}, False),
        ({"gated": False}, True),
        ({"gated": True}, False),
        ({"author": "demo", "sort": "last_modified", "limit": 1, "full": True}, True),
    ]:
        assert [one.id for one in api.list_models(search=word, **wanted)] == [repo] * found, wanted


def test_files_are_copied_between_repos(hub, repo):
    api, source = hub.api(), fresh("source")
    api.create_repo(source, repo_type="dataset")
    adds = [CommitOperationAdd("d/large.bin", b"\0" * 5000), CommitOperationAdd("d/small.txt", b"small")]
    api.create_commit(source, adds, repo_type="dataset", commit_message="x")
    copies = [
        CommitOperationCopy(f"d/{name}", f"e/{name}", src_repo_id=source, src_repo_type="dataset")
        for name in ("large.bin", "small.txt")
    ]
    api.create_commit(repo, copies, commit_message="copy")
    assert hub.request("GET", f"/{repo}/resolve/main/e/large.bin").body == b"\0" * 5000
    assert hub.request("GET", f"/{repo}/resolve/main/e/small.txt").body == b"small"


def test_repo_is_duplicated_with_history_and_tags(hub, repo):
    api, name = hub.api(), fresh("twin")
    api.upload_file(path_or_fileobj=b"1", path_in_repo="a.txt", repo_id=repo)
    api.create_tag(repo, tag="v1")
    api.upload_file(path_or_fileobj=b"2", path_in_repo="a.txt", repo_id=repo)
    api.create_pull_request(repo, "not copied")
    assert api.duplicate_repo(repo, name, private=True).repo_id == name
    assert api.model_info(name).private
    assert [c.commit_id for c in api.list_repo_commits(name)] == [
        c.commit_id for c in api.list_repo_commits(repo)
    ]
    assert hub.request("GET", f"/{name}/resolve/v1/a.txt").body == b"1"
    api.upload_file(path_or_fileobj=b"3", path_in_repo="a.txt", repo_id=name)
    assert hub.request("GET", f"/{repo}/resolve/main/a.txt").body == b"2"
    assert api.list_repo_refs(name, include_pull_requests=True).pull_requests == []
    with pytest.raises(HfHubHTTPError, match="already exists"):
        api.duplicate_repo(repo, name)
    api.duplicate_repo(repo, name, exist_ok=True)
    with pytest.raises(RepositoryNotFoundError):
        hub.api(OTHER_TOKEN).duplicate_repo(name, "other/stolen")


def weights(**shapes):
    tensors = {
        name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()
    }
    head = json.dumps(tensors).encode()
    return len(head).to_bytes(8, "little") + head


def test_model_info_counts_parameters_and_names_the_architecture(hub, repo):
    api = hub.api()
    adds = [
        CommitOperationAdd("config.json", b'{"architectures": ["X"], "model_type": "x", "secret": 1}'),
        CommitOperationAdd("model.safetensors", weights(a=[3, 4], b=[5])),
    ]
    api.create_commit(repo, adds, commit_message="x")
    info = api.model_info(repo, expand=["safetensors", "config"])
    assert (info.safetensors.total, info.safetensors.parameters) == (17, {"F32": 17})
    assert info.config == {"architectures": ["X"], "model_type": "x"}
    assert api.get_safetensors_metadata(repo).parameter_count == {"F32": 17}


def test_sharded_model_tells_all_its_tensors_at_once(hub, repo):
    api, index = (
        hub.api(),
        {"metadata": {"total_size": 1}, "weight_map": {"a": "1.safetensors", "b": "2.safetensors"}},
    )
    adds = [
        CommitOperationAdd("model.safetensors.index.json", json.dumps(index).encode()),
        CommitOperationAdd("1.safetensors", weights(a=[2])),
        CommitOperationAdd("2.safetensors", weights(b=[3])),
    ]
    api.create_commit(repo, adds, commit_message="x")
    found = api.get_sharded_safetensors_metadata(repo)
    assert found.weight_map == index["weight_map"]
    assert found.parameter_count == api.get_safetensors_metadata(repo).parameter_count == {"F32": 5}
    assert api.model_info(repo).safetensors.total == 5


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"\xff" * 40,
        b"\5\0\0\0\0\0\0\0[[[[[",
        weights(a=["x", -1]),
        weights(a=5),
        weights(a=[2**70]),
    ],
)
def test_weights_that_are_none_break_nothing(hub, repo, data):
    adds = [CommitOperationAdd("model.safetensors", data), CommitOperationAdd("config.json", b"[" * 5000)]
    hub.api().create_commit(repo, adds, commit_message="x")
    assert hub.request("GET", f"/api/models/{repo}").status == 200
    assert (
        hub.request("GET", f"/api/models/{repo}/safetensors-metadata/model.safetensors").json["headers"] == {}
    )


def test_folder_was_last_changed_when_a_file_in_it_was(hub, repo):
    api = hub.api()
    for path in ("a/b/1.txt", "a/2.txt", "c.txt", "a/b/1.txt"):
        last = api.upload_file(path_or_fileobj=os.urandom(4), path_in_repo=path, repo_id=repo)
    found = {e.path: e.last_commit.oid for e in api.list_repo_tree(repo, recursive=True, expand=True)}
    assert found["a"] == found["a/b"] == found["a/b/1.txt"] == last.oid
    assert found["a/2.txt"] != last.oid != found["c.txt"]


def test_large_files_are_listed_and_erased_from_the_history(hub, repo):
    api = hub.api()
    for number in range(3):
        api.upload_file(path_or_fileobj=b"\0%d" % number, path_in_repo=f"{number}.bin", repo_id=repo)
    api.create_tag(repo, tag="v1")
    api.upload_file(path_or_fileobj=b"text", path_in_repo="after.txt", repo_id=repo)
    found = list(api.list_lfs_files(repo))
    assert [(one.filename, one.size) for one in found] == [("0.bin", 2), ("1.bin", 2), ("2.bin", 2)]
    before = [c.commit_id for c in reversed(api.list_repo_commits(repo))]
    api.permanently_delete_lfs_files(repo, [found[1]])
    assert [one.filename for one in api.list_lfs_files(repo)] == ["0.bin", "2.bin"]
    after = [c.commit_id for c in reversed(api.list_repo_commits(repo))]
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, True, False, False, False]
    assert set(api.list_repo_files(repo, revision="v1")) == {".gitattributes", "0.bin", "2.bin"}
    entries = {e.path: e.last_commit.oid for e in api.list_repo_tree(repo, expand=True)}
    assert entries["2.bin"] == after[3]


def test_large_files_erased_without_their_history_stay_listed_and_come_back_when_sent_again(hub, repo):
    api = hub.api()
    api.upload_file(path_or_fileobj=b"\0gone", path_in_repo="a.bin", repo_id=repo)
    head = api.model_info(repo).sha
    api.permanently_delete_lfs_files(repo, api.list_lfs_files(repo), rewrite_history=False)
    assert (api.model_info(repo).sha, list(api.list_lfs_files(repo))) == (head, [])
    assert "a.bin" in api.list_repo_files(repo)
    for path in (f"/{repo}/resolve/main/a.bin", f"/{repo}/blob/main/a.bin"):
        assert hub.request("GET", path).status == 404
    with pytest.raises(RemoteEntryNotFoundError, match="permanently deleted"):
        hub.api(OTHER_TOKEN).hf_hub_download(repo, "a.bin", force_download=True)
    line = upload_lfs(hub, repo, b"\0gone")
    commit(hub, repo, line | {"value": line["value"] | {"path": "b.bin"}})
    assert hub.request("GET", f"/{repo}/resolve/main/a.bin").body == b"\0gone"


def test_ignored_files_stay_at_home(hub, repo, tmp_path):
    for name in ("keep.txt", "skip.log", "build/x.txt", "build/keep.me"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / ".gitignore").write_text("*.log\n/build/*\n!keep.me\n")
    hub.api().upload_folder(repo_id=repo, folder_path=tmp_path)
    expected = {".gitattributes", ".gitignore", "keep.txt", "build/keep.me"}
    assert set(hub.api().list_repo_files(repo)) == expected
    (tmp_path / ".gitignore").unlink()
    hub.api().upload_folder(repo_id=repo, folder_path=tmp_path)
    assert set(hub.api().list_repo_files(repo)) == expected


def test_users_and_their_repos_are_told(hub, repo):
    api = hub.api()
    assert api.get_user_overview("demo").num_models > 0
    with pytest.raises(HfHubHTTPError):
        api.get_user_overview("nobody")
    mine = {one.id: one for one in api.list_user_repos()}
    assert (mine[repo].type, mine[repo].visibility) == ("model", "public")
    assert api.list_liked_repos().total == 0
    assert list(api.list_repo_likers(repo)) == []
    api.unlike(repo)


def test_file_system_reads_and_writes_at_any_revision(hub, repo):
    api = hub.api()
    fs = HfFileSystem(endpoint=hub.endpoint, token=hub.token, skip_instance_cache=True)
    with fs.open(f"{repo}/d/a.txt", "wb") as out:
        out.write(b"0123456789" * 1000)
    api.create_commit(repo, [CommitOperationAdd("p.txt", b"pr")], commit_message="x", create_pr=True)
    assert fs.cat(f"{repo}@refs%2Fpr%2F1/p.txt") == fs.cat(f"{repo}@refs/pr/1/p.txt") == b"pr"
    with fs.open(f"{repo}/d/a.txt", "rb", block_size=100) as source:
        source.seek(5003)
        assert source.read(4) == b"3456"
    fs.cp_file(f"{repo}/d/a.txt", f"{repo}/e/b.txt")
    fs.mv(f"{repo}/e/b.txt", f"{repo}/e/c.txt")
    assert [path.removeprefix(repo) for path in fs.glob(f"{repo}/**/*.txt")] == ["/d/a.txt", "/e/c.txt"]
    assert fs.info(f"{repo}/d/a.txt")["size"] == 10_000
    assert {path.removeprefix(repo) for path in fs.find(repo)} == {"/.gitattributes", "/d/a.txt", "/e/c.txt"}
    fs.rm(f"{repo}/e", recursive=True)
    assert [path.rpartition("/")[2] for path in fs.ls(repo, detail=False)] == [".gitattributes", "d"]


def test_scheduler_and_folder_of_many_files_arrive(hub, repo, tmp_path):
    (tmp_path / "log.txt").write_text("line\n")
    scheduler = CommitScheduler(repo_id=repo, folder_path=tmp_path, every=60, hf_api=hub.api())
    scheduler.trigger().result()
    scheduler.stop()
    assert "log.txt" in hub.api().list_repo_files(repo)
    large = tmp_path / "large"
    large.mkdir()
    for number in range(30):
        (large / f"{number:02}.bin").write_bytes(b"\0%d" % number * 100)
    hub.api().upload_folder(repo_id=repo, folder_path=large)
    assert sum(path.endswith(".bin") for path in hub.api().list_repo_files(repo)) == 30


def test_commit_of_5000_files_and_its_pages(hub, repo):
    started = time.monotonic()
    lines = [file(f"d/{number % 7}/{number:05}.txt", b"%d" % number) for number in range(5000)]
    answer = hub.request("POST", f"/api/models/{repo}/commit/main", ndjson(header(), *lines))
    assert answer.status == 200
    assert time.monotonic() - started < 30
    assert len(hub.api().list_repo_files(repo)) == 5001
    first = hub.request("GET", f"/api/models/{repo}/tree/main?recursive=1&limit=3000")
    assert (len(first.json), "cursor=3000" in first.headers["Link"]) == (3000, True)


def test_200_clients_at_once_lose_nothing(hub, repo):
    lost = []

    def work(number):
        body = ndjson(header(f"c{number}"), file(f"f/{number}.txt", b"%d" % number))
        for _ in range(5):
            try:
                answer = hub.request("POST", f"/api/models/{repo}/commit/main", body)
            except OSError:
                continue
            if answer.status == 200:
                return
        lost.append(number)

    clients = [threading.Thread(target=work, args=(number,)) for number in range(200)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert lost == []
    files = set(hub.api().list_repo_files(repo))
    assert {f"f/{number}.txt" for number in range(200)} <= files
    assert len(hub.api().list_repo_commits(repo)) >= 201


def test_clients_that_name_their_parent_all_get_through_by_trying_again(hub, repo):
    refused = []

    def work(number):
        while True:
            parent = hub.request("GET", f"/api/models/{repo}").json["sha"]
            body = ndjson(header(f"c{number}", parentCommit=parent), file(f"{number}.txt", b"x"))
            answer = hub.request("POST", f"/api/models/{repo}/commit/main", body)
            if answer.status == 200:
                return
            assert answer.status == 412
            refused.append(number)

    clients = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    titles = [commit.title for commit in hub.api().list_repo_commits(repo)]
    assert sorted(titles) == sorted(["initial commit", *(f"c{number}" for number in range(12))])
    assert refused


def test_object_of_another_repo_is_not_handed_out(hub, repo):
    other = fresh("private")
    hub.api().create_repo(other, private=True)
    large = upload_lfs(hub, other, b"\0 secret")
    large["value"]["path"] = "s.bin"
    hub.request("POST", f"/api/models/{other}/commit/main", ndjson(header(), large))
    wanted = {"operation": "download", "objects": [{"oid": large["value"]["oid"], "size": 8}]}
    found = hub.request("POST", f"/{repo}.git/info/lfs/objects/batch", wanted).json["objects"][0]
    assert found["error"]["code"] == 404
