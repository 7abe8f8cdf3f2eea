import struct
from urllib.parse import urlsplit

import pytest
from hub_support import OTHER_TOKEN, READER_TOKEN, header, ndjson, xet_chunk, xet_name, xet_shard
from huggingface_hub import CommitOperationAdd
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError


@pytest.fixture
def gated(hub, repo):
    hub.api().upload_file(path_or_fileobj=b"behind the gate", path_in_repo="f.bin", repo_id=repo)
    hub.api().update_repo_settings(repo, gated="manual")
    return repo


def reads(hub, repo, token):
    return hub.request("GET", f"/{repo}/resolve/main/f.bin", token=token)


def test_files_of_a_gated_repo_are_for_those_let_in(hub, gated):
    sha = hub.api().get_paths_info(gated, "f.bin")[0].lfs.sha256
    batch = {"operation": "download", "objects": [{"oid": sha, "size": 15}]}
    for token, status in (("", 401), (OTHER_TOKEN, 403)):
        for method, path, body in [
            ("GET", f"/{gated}/resolve/main/f.bin", None),
            ("HEAD", f"/{gated}/resolve/main/f.bin", None),
            ("GET", f"/{gated}/raw/main/f.bin", None),
            ("GET", f"/api/models/{gated}/auth-check", None),
            ("POST", f"/{gated}.git/info/lfs/objects/batch", batch),
        ]:
            answer = hub.request(method, path, body, token=token)
            assert (answer.status, answer.headers["X-Error-Code"]) == (status, "GatedRepo"), path
            assert b"behind" not in answer.body
        assert hub.request("GET", f"/api/models/{gated}", token=token).json["gated"] == "manual"
    assert reads(hub, gated, READER_TOKEN).body == b"behind the gate"
    with pytest.raises(GatedRepoError):
        hub.api(OTHER_TOKEN).hf_hub_download(gated, "f.bin")


def test_hash_of_a_file_alone_does_not_get_its_content(hub, gated):
    listed = hub.request("GET", f"/api/models/{gated}/tree/main", token=OTHER_TOKEN).json
    (sha,) = (entry["lfs"]["oid"] for entry in listed if "lfs" in entry)
    mine, api = f"other/{gated.partition('/')[2]}"[:90].rstrip("-"), hub.api(OTHER_TOKEN)
    api.create_repo(mine)
    line = {"key": "lfsFile", "value": {"path": "f.bin", "algo": "sha256", "oid": sha}}
    batch = {"operation": "upload", "objects": [{"oid": sha, "size": 15}]}
    copied = {"target": {"type": "model", "name": mine}, "files": [{"sha256": sha}]}
    for path in (f"/api/models/{mine}/lfs-files/duplicate", f"/api/models/{gated}/lfs-files/duplicate"):
        hub.request("POST", path, copied, token=OTHER_TOKEN)
    asked = hub.request("POST", f"/{mine}.git/info/lfs/objects/batch", batch, token=OTHER_TOKEN)
    (item,) = asked.json["objects"]
    href = urlsplit(item["actions"]["upload"]["href"])
    assert hub.request("PUT", f"{href.path}?{href.query}", b"x" * 15, token="").status == 400
    granted = hub.request("GET", f"/api/models/{mine}/xet-write-token/main", token=OTHER_TOKEN).json
    cas, token = urlsplit(granted["casUrl"]), granted["accessToken"]
    name = xet_name(b"x" * 32)
    hub.request("POST", f"{cas.path}/v1/xorbs/default/{name}", xet_chunk(b"x" * 15), token=token)
    raw = struct.pack("<4Q", *(int(sha[i : i + 16], 16) for i in range(0, 64, 16)))
    shard = xet_shard([b"x" * 15], sha=raw)
    assert hub.request("POST", f"{cas.path}/v1/shards", shard, token=token).status == 400
    answer = hub.request("POST", f"/api/models/{mine}/commit/main", ndjson(header(), line), token=OTHER_TOKEN)
    assert (answer.status, b"has not been uploaded" in answer.body) == (400, True)
    api.create_commit(mine, [CommitOperationAdd("f.bin", b"behind the gate")], commit_message="I have it")
    assert hub.request("GET", f"/{mine}/resolve/main/f.bin", token=OTHER_TOKEN).body == b"behind the gate"


def test_changes_of_a_gated_repo_are_shown_to_those_let_in(hub, gated):
    add = CommitOperationAdd("t.txt", b"told to few")
    asked = hub.api().create_commit(gated, [add], commit_message="x", create_pr=True)
    path = f"/api/models/{gated}/discussions/{asked.pr_num}?diff=1"
    assert b"told to few" in hub.request("GET", path).body
    for token in ("", OTHER_TOKEN):
        closed = hub.request("GET", path, token=token)
        assert (closed.status, b"told" in closed.body) == (200, False)


def test_request_is_asked_rejected_accepted_and_taken_back(hub, gated):
    api = hub.api()
    assert hub.request("POST", f"/{gated}/ask-access", token="").status == 401
    assert hub.request("POST", f"/{gated}/ask-access", token=OTHER_TOKEN).json == {"status": "pending"}
    assert hub.request("POST", f"/{gated}/ask-access", token=OTHER_TOKEN).json == {"status": "pending"}
    assert [one.username for one in api.list_pending_access_requests(gated)] == ["other"]
    api.reject_access_request(gated, "other", rejection_reason="no")
    assert "rejected" in reads(hub, gated, OTHER_TOKEN).json["error"]
    api.accept_access_request(gated, "other")
    assert reads(hub, gated, OTHER_TOKEN).body == b"behind the gate"
    api.cancel_access_request(gated, "other")
    assert reads(hub, gated, OTHER_TOKEN).status == 403
    with pytest.raises(HfHubHTTPError, match="pending already"):
        api.cancel_access_request(gated, "other")


def test_automatic_gate_opens_on_asking_and_any_gate_on_a_grant(hub, gated, repo):
    hub.api().update_repo_settings(gated, gated="auto")
    assert hub.request("POST", f"/{gated}/ask-access", token=OTHER_TOKEN).json == {"status": "accepted"}
    assert reads(hub, gated, OTHER_TOKEN).status == 200
    hub.api().update_repo_settings(gated, gated=False)
    assert reads(hub, gated, "").status == 200
    assert hub.request("POST", f"/{gated}/ask-access", token=OTHER_TOKEN).status == 400


def test_grant_lets_known_users_in_once(hub, gated):
    hub.api().grant_access(gated, "other")
    assert reads(hub, gated, OTHER_TOKEN).status == 200
    for user in ("other", "nobody"):
        with pytest.raises(HfHubHTTPError):
            hub.api().grant_access(gated, user)


def test_only_the_owner_sees_and_decides_requests(hub, gated):
    for path in ("pending", "accepted", "rejected"):
        assert (
            hub.request("GET", f"/api/models/{gated}/user-access-request/{path}", token=OTHER_TOKEN).status
            == 403
        )
    body = {"user": "other", "status": "accepted"}
    handle = f"/api/models/{gated}/user-access-request/handle"
    assert hub.request("POST", handle, body, token=OTHER_TOKEN).status == 403
    assert hub.request("POST", handle, {"user": "nobody", "status": "accepted"}).status == 404
    assert hub.request("GET", f"/api/models/{gated}/user-access-request/sideways").status == 400
