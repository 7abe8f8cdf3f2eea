import hashlib
from urllib.parse import urlsplit

import pytest
from hub_support import OTHER_TOKEN, READER_TOKEN, file, header, ndjson
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

READS = ["", "/revision/main", "/tree/main", "/refs", "/commits/main", "/auth-check"]


@pytest.fixture
def secret(hub, repo):
    hub.api().upload_file(path_or_fileobj=b"secret", path_in_repo="s.txt", repo_id=repo)
    hub.api().update_repo_settings(repo, visibility="private")
    return repo


@pytest.mark.parametrize(("token", "status"), [("", 401), (OTHER_TOKEN, 404)])
def test_private_repo_looks_like_a_missing_one(hub, secret, token, status):
    paths = [f"/api/models/{{}}{read}" for read in READS] + ["/{}/resolve/main/s.txt", "/{}/raw/main/s.txt"]
    for path in paths:
        private, missing = (
            hub.request("GET", path.format(name), token=token) for name in (secret, "demo/missing")
        )
        assert private.status == missing.status == status, path
        assert private.headers["X-Error-Code"] == missing.headers["X-Error-Code"] == "RepoNotFound"
        assert private.body.replace(secret.encode(), b"") == missing.body.replace(b"demo/missing", b"")
        assert b"secret" not in private.body.replace(secret.encode(), b"")


def test_private_repo_is_not_listed_for_others(hub, secret):
    assert secret in [info.id for info in hub.api().list_models(author="demo")]
    for token in ("", OTHER_TOKEN):
        assert secret.encode() not in hub.request("GET", "/api/models?limit=1000", token=token).body


def test_owner_reads_their_private_repo(hub, secret):
    assert hub.request("GET", f"/{secret}/resolve/main/s.txt").body == b"secret"
    assert hub.request("GET", f"/{secret}/resolve/main/s.txt", token=READER_TOKEN).body == b"secret"


def writes(repo):
    return [
        ("POST", f"/api/models/{repo}/commit/main", ndjson(header(), file("a.txt", b"x"))),
        ("POST", f"/api/models/{repo}/preupload/main", {"files": []}),
        ("POST", f"/api/models/{repo}/tag/main", {"tag": "v1"}),
        ("POST", f"/api/models/{repo}/branch/dev", {}),
        ("POST", f"/api/models/{repo}/super-squash/main", {}),
        ("PUT", f"/api/models/{repo}/settings", {"visibility": "private"}),
        ("GET", f"/api/models/{repo}/auth-check/write", None),
        ("POST", "/api/repos/move", {"fromRepo": repo, "toRepo": "other/stolen"}),
        ("DELETE", "/api/repos/delete", {"name": repo}),
    ]


@pytest.mark.parametrize(("token", "status"), [("", 401), (OTHER_TOKEN, 403), (READER_TOKEN, 403)])
def test_public_repo_is_written_by_its_owner_only(hub, repo, token, status):
    before = hub.request("GET", f"/api/models/{repo}").json
    for method, path, body in writes(repo):
        refused = hub.request(method, path, body, token=token)
        assert (refused.status, bool(refused.json["error"])) == (status, True), path
    assert hub.request("GET", f"/api/models/{repo}", token="").json == before


@pytest.mark.parametrize(("token", "status"), [("", 401), (OTHER_TOKEN, 200), (READER_TOKEN, 403)])
def test_everybody_whose_token_writes_may_upload_for_a_proposal(hub, repo, token, status):
    batch = {"operation": "upload", "objects": []}
    for method, path, body in [
        ("POST", f"/{repo}.git/info/lfs/objects/batch", batch),
        ("GET", f"/api/models/{repo}/xet-write-token/main", None),
        ("POST", f"/api/models/{repo}/preupload/main?create_pr=1", {"files": []}),
    ]:
        assert hub.request(method, path, body, token=token).status == status, path


def test_foreign_namespace_is_refused_with_both_names(hub):
    with pytest.raises(HfHubHTTPError, match=r'namespace "other"; yours is "demo"') as refused:
        hub.api().create_repo("other/new")
    assert refused.value.response.status_code == 403
    with pytest.raises(RepositoryNotFoundError):
        hub.api().model_info("other/new")


@pytest.mark.parametrize(
    "header_value", ["Bearer hf_unknown", "Basic ZGVtbzpkZW1v", "Bearer", "hf_x", "Bearer \xff"]
)
def test_unknown_credentials_are_401_even_for_public_things(hub, repo, header_value):
    answer = hub.request("GET", f"/api/models/{repo}", headers={"Authorization": header_value})
    assert (answer.status, answer.json["error"]) == (401, "Invalid credentials in Authorization header")


def test_whoami_tells_user_and_role(hub):
    assert hub.api().whoami()["name"] == "demo"
    answer = hub.request("GET", "/api/whoami-v2", token=READER_TOKEN).json
    assert (answer["name"], answer["auth"]["accessToken"]["role"]) == ("demo", "read")
    assert hub.request("GET", "/api/whoami-v2", token="").status == 401


def signed_put(hub, repo, data, size=None):
    sha = hashlib.sha256(data).hexdigest()
    wanted = {"operation": "upload", "objects": [{"oid": sha, "size": len(data) if size is None else size}]}
    found = hub.request("POST", f"/{repo}.git/info/lfs/objects/batch", wanted).json["objects"][0]
    address = urlsplit(found["actions"]["upload"]["href"])
    return f"{address.path}?{address.query}"


def test_object_is_taken_only_at_the_address_signed_for_it(hub, repo):
    data, other = b"object one", b"object two"
    address = signed_put(hub, repo, data)
    path, _, query = address.partition("?")
    foreign = f"/_lfs/{hashlib.sha256(other).hexdigest()}"
    assert hub.request("PUT", path, data, token="").status == 401
    assert hub.request("PUT", path, data).status == 401
    assert hub.request("PUT", address[:-1] + "x", data, token="").status == 401
    assert hub.request("PUT", f"{foreign}?{query}", other, token="").status == 403
    assert not (hub.store / "blobs" / foreign[6:8] / foreign[6:]).exists()
    assert hub.request("GET", address, token="").status == 403
    assert hub.request("PUT", address, data, token="").status == 200


def test_wrong_bytes_are_not_kept(hub, repo):
    address = signed_put(hub, repo, b"the true bytes")
    assert hub.request("PUT", address, b"the fake bytes", token="").status == 400
    assert hub.request("PUT", address, b"too short", token="").status == 400
    assert hub.request("PUT", address, b"far too long for it", token="").status == 413
    sha = address[6:70]
    assert not (hub.store / "blobs" / sha[:2] / sha).exists()
    assert list((hub.store / "incoming").iterdir()) == []


def test_expired_ticket_is_refused():
    from hub_tools.hub.server.errors import HubError
    from hub_tools.hub.server.signing import Signer

    signer = Signer("key")
    assert signer.scope(signer.ticket("upload:x", 60)) == "upload:x"
    with pytest.raises(HubError, match="expired"):
        signer.scope(signer.ticket("upload:x", -1))
    with pytest.raises(HubError, match="not issued"):
        signer.scope(Signer("other key").ticket("upload:x", 60))


def test_storage_takes_nothing_without_its_own_token(hub, repo):
    storage = urlsplit(hub.request("GET", f"/api/models/{repo}/xet-write-token/main").json["casUrl"]).path
    xorb = f"{storage}/v1/xorbs/default/{'ab' * 32}"
    for token in ("", hub.token):
        assert hub.request("POST", xorb, b"x", token=token).status == 401
        assert hub.request("POST", f"{storage}/v1/shards", b"x", token=token).status == 401
    right = hub.request("GET", f"/api/models/{repo}/xet-write-token/main").json["accessToken"]
    assert hub.request("POST", xorb.replace(storage, "/_cas/" + "0" * 32), b"x", token=right).status == 404
    assert hub.request("POST", f"{storage}/v1/xorbs/default/..%2F..%2Fx", b"x", token=right).status == 400
    assert not (hub.store / "xorbs" / "ab" / ("ab" * 32)).exists()
