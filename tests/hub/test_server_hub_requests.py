import http.client
import json
import os
import socket
import string

import pytest
from hub_support import Answer, file, header, ndjson
from huggingface_hub import CommitOperationAdd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CONTENT = b"\0" + b" ".join(b"%d" % number for number in range(500))


@pytest.fixture(scope="module")
def busy(hub):
    """A repo with something of everything."""
    api = hub.api()
    api.create_repo("demo/busy", exist_ok=True)
    adds = [CommitOperationAdd("bytes.bin", CONTENT), CommitOperationAdd("d/text.txt", CONTENT[:100])]
    api.create_commit("demo/busy", [*adds, CommitOperationAdd("empty.txt", b"")], commit_message="x")
    api.create_commit("demo/busy", [CommitOperationAdd("p.txt", b"x")], commit_message="x", create_pr=True)
    api.create_tag("demo/busy", tag="v1", exist_ok=True)
    return "demo/busy"


@pytest.mark.parametrize(
    ("asked", "status", "expected"),
    [
        ("bytes=0-9", 206, CONTENT[:10]),
        ("bytes=100-", 206, CONTENT[100:]),
        ("bytes=-7", 206, CONTENT[-7:]),
        ("bytes=1500-9999999", 206, CONTENT[1500:]),
        (f"bytes={len(CONTENT)}-", 416, None),
        ("bytes=-0", 416, None),
        ("bytes=9-5", 200, CONTENT),
        ("bytes=-", 200, CONTENT),
        ("bytes=x-y", 200, CONTENT),
        ("lines=0-9", 200, CONTENT),
        ("bytes=0-1,5-6", 200, CONTENT),
        ("bytes=" + "9" * 5000 + "-", 200, CONTENT),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, str) else "",
)
def test_ranges(hub, busy, asked, status, expected):
    answer = hub.request("GET", f"/{busy}/resolve/main/bytes.bin", headers={"Range": asked})
    assert answer.status == status
    if status == 416:
        assert answer.headers["Content-Range"] == f"bytes */{len(CONTENT)}"
        assert answer.json["error"]
        return
    assert answer.body == expected
    assert answer.headers["Content-Length"] == str(len(expected))
    if status == 206:
        start = CONTENT.index(expected)
        assert answer.headers["Content-Range"] == f"bytes {start}-{start + len(expected) - 1}/{len(CONTENT)}"


def test_resolve_has_the_headers_clients_cache_by(hub, busy):
    sha = hub.api().model_info(busy).sha
    entries = {e.path: e for e in hub.api().list_repo_tree(busy, recursive=True)}
    for path in ("bytes.bin", "d%2Ftext.txt", "empty.txt"):
        got, head = (hub.request(method, f"/{busy}/resolve/main/{path}") for method in ("GET", "HEAD"))
        entry = entries[path.replace("%2F", "/")]
        etag = entry.lfs.sha256 if entry.lfs else entry.blob_id
        assert got.headers["ETag"] == head.headers["ETag"] == f'"{etag}"'
        assert got.headers["X-Repo-Commit"] == head.headers["X-Repo-Commit"] == sha
        assert got.headers["Content-Length"] == head.headers["Content-Length"] == str(entry.size)
        assert head.headers["Accept-Ranges"] == "bytes"
        assert head.body == b""


def test_every_get_route_answers_head_alike(hub, busy):
    for path in (
        "",
        "/revision/v1",
        "/discussions",
        "/discussions/1",
        "/lfs-files",
        "/auth-check",
        "/user-access-request/pending",
        "/likers",
        "/tree/main",
        "/tree/main/",
        "/refs",
        "/commits/main",
        "/tree/main/d",
        "/",
    ):
        got, head = (hub.request(method, f"/api/models/{busy}{path}") for method in ("GET", "HEAD"))
        assert (got.status, head.status, head.body) == (200, 200, b""), path
        assert got.headers["Content-Length"] == head.headers["Content-Length"]


def test_file_that_the_client_has_already_is_not_sent_again(hub, busy):
    path = f"/{busy}/resolve/main/bytes.bin"
    etag = hub.request("GET", path).headers["ETag"]
    again = hub.request("GET", path, headers={"If-None-Match": f'W/"other", {etag}'})
    assert (again.status, again.body, again.headers["ETag"]) == (304, b"", etag)
    assert hub.request("GET", path, headers={"If-None-Match": '"other"'}).body == CONTENT
    part = hub.request("GET", path, headers={"Range": "bytes=0-1", "If-Range": '"other"'})
    assert (part.status, part.body) == (200, CONTENT)


def test_missing_things_carry_the_code_that_clients_look_for(hub, busy):
    for path, code in [
        ("/api/models/demo/none", "RepoNotFound"),
        ("/api/models/gpt2", "RepoNotFound"),
        (f"/api/datasets/{busy}", "RepoNotFound"),
        (f"/api/models/{busy}/revision/none", "RevisionNotFound"),
        (f"/{busy}/resolve/none/bytes.bin", "RevisionNotFound"),
        (f"/{busy}/resolve/main/none", "EntryNotFound"),
        (f"/{busy}/resolve/main/d", "EntryNotFound"),
        (f"/api/models/{busy}/tree/main/none", "EntryNotFound"),
    ]:
        answer = hub.request("GET", path)
        assert (answer.status, answer.headers["X-Error-Code"]) == (404, code), path
        assert answer.json["error"]


def test_revisions_in_every_spelling(hub, busy):
    sha = hub.api().model_info(busy).sha
    for revision in ("main", "v1", "refs%2Fheads%2Fmain", "refs%2Ftags%2Fv1", sha, sha[:7]):
        assert hub.request("GET", f"/api/models/{busy}/revision/{revision}").json["sha"] == sha, revision
    assert hub.request("GET", f"/api/models/{busy}/revision/refs%2Fpr%2F1").json["sha"] != sha
    assert hub.request("GET", f"/api/models/{busy}/revision/{sha[:6]}").status == 404


def test_pages_of_a_list_join_up(hub, busy):
    whole = hub.request("GET", f"/api/models/{busy}/tree/main?recursive=true").json
    path, joined = f"/api/models/{busy}/tree/main?recursive=true&limit=2", []
    while path:
        answer = hub.request("GET", path)
        assert len(answer.json) in (1, 2)
        joined += answer.json
        link = answer.headers["Link"]
        path = link.split(">")[0].removeprefix(f"<{hub.endpoint}") if link else None
    assert joined == whole
    assert len(whole) == 5


def test_expand_picks_fields(hub, busy):
    answer = hub.request("GET", f"/api/models/{busy}?expand=sha&expand[]=tags").json
    assert set(answer) == {"_id", "id", "sha", "tags"}


def raw_head(hub, path, length):
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {hub.token}",
        f"Content-Length: {length}",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def test_body_over_the_limit_is_413_before_it_is_read(hub, busy):
    for path in ("/api/repos/create", f"/api/models/{busy}/commit/main"):
        with socket.create_connection(("127.0.0.1", hub.port), timeout=10) as connection:
            connection.sendall(raw_head(hub, path, 10**13))
            assert connection.recv(100).startswith(b"HTTP/1.1 413"), path


def test_chunked_body_over_the_limit_is_413(hub):
    def pieces():
        for _ in range(40):
            yield b" " * (1 << 20)

    connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=20)
    try:
        connection.request("POST", "/api/validate-yaml", pieces(), encode_chunked=True)
        status = connection.getresponse().status
    except (BrokenPipeError, ConnectionResetError):
        status = 413  # refused so early that the client was still sending
    finally:
        connection.close()
    assert status == 413


def test_upload_that_breaks_off_leaves_nothing(hub, busy):
    before = hub.api().model_info(busy).sha
    body = ndjson(header(), file("cut.txt", os.urandom(100_000)))
    with socket.create_connection(("127.0.0.1", hub.port), timeout=10) as connection:
        connection.sendall(raw_head(hub, f"/api/models/{busy}/commit/main", len(body)) + body[:-10])
    assert hub.api().model_info(busy).sha == before


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff\xfe",
        b'{"key":"header"}',
        b'{"key":"file","value":{"path":"a","content":"eA=="}}',
        ndjson(header(), header()),
        ndjson(header(), {"key": "unknown", "value": {}}),
        ndjson(header(), {"key": "file", "value": {"path": "a", "content": "no base64!"}}),
        ndjson(header(), {"key": "file", "value": {"path": "\ud800", "content": "eA=="}}),
        ndjson(header(), {"key": "lfsFile", "value": {"path": "a", "oid": "../../../etc/passwd"}}),
        ndjson(header(), {"key": "deletedFile", "value": {"path": 5}}),
        b"[" * 100_000,
        b'{"key":"header","value":{"summary":' + b"9" * 10_000 + b"}}",
    ],
)
def test_malformed_commit_is_refused_and_changes_nothing(hub, busy, body):
    before = hub.api().model_info(busy).sha
    answer = hub.request("POST", f"/api/models/{busy}/commit/main", body)
    assert 400 <= answer.status < 500
    assert isinstance(answer.json["error"], str)
    assert hub.api().model_info(busy).sha == before


PATHS = [
    "/api/whoami-v2",
    "/api/{kind}",
    "/api/{kind}/{repo}",
    "/api/{kind}/{repo}/{word}",
    "/api/{kind}/{repo}/revision/{word}",
    "/api/{kind}/{repo}/tree/{word}/{word}",
    "/api/{kind}/{repo}/commits/{word}",
    "/api/{kind}/{repo}/paths-info/main",
    "/api/{kind}/{repo}/preupload/{word}",
    "/api/{kind}/{repo}/commit/{word}",
    "/api/{kind}/{repo}/tag/{word}",
    "/api/{kind}/{repo}/branch/{word}",
    "/api/{kind}/{repo}/super-squash/{word}",
    "/api/{kind}/{repo}/settings",
    "/api/{kind}/{repo}/xet-write-token/{word}",
    "/api/{kind}/{repo}/discussions?p={word}",
    "/api/{kind}/{repo}/discussions/1",
    "/api/{kind}/{repo}/discussions/{word}",
    "/api/{kind}/{repo}/discussions/1/{word}",
    "/api/{kind}/{repo}/discussions/1/comment/{word}/edit",
    "/api/{kind}/{repo}/user-access-request/{word}",
    "/api/{kind}/{repo}/lfs-files",
    "/api/{kind}/{repo}/lfs-files/batch",
    "/api/{kind}/{repo}/lfs-files/duplicate",
    "/api/{kind}/{repo}/duplicate",
    "/api/{kind}/{word}/{word}/{word}",
    "/api/{kind}/{repo}/safetensors-metadata/{word}",
    "/api/users/{word}/overview",
    "/api/organizations/{word}/members",
    "/api/{word}",
    "/{repo}/ask-access",
    "/{word}/resolve/{word}/{word}",
    "/api/repos/create",
    "/api/repos/move",
    "/api/validate-yaml",
    "/api/collections",
    "/api/collections/demo/{word}",
    "/api/collections/demo/{word}/items/{word}",
    "/{repo}/resolve/{word}/{word}",
    "/{repo}/tree/{word}",
    "/{repo}.git/info/lfs/objects/batch",
    "/_lfs/{word}?ticket={word}",
    "/_cas/{word}/v1/shards",
    "/login",
    "/{word}",
]
ODD_WORDS = ["..", "%2e%2e%2f", "%00", "%ff%fe", "%ED%A0%80", "a" * 3000, "%"]
WORDS = st.sampled_from(["main", "v1", "d", "bytes.bin", "refs%2Fpr%2F1", *ODD_WORDS]) | st.text(
    string.ascii_letters + string.digits + "%?&=+.~-_:@!$'()*,;[]", max_size=12
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=True)
    | st.text(max_size=8)
    | st.sampled_from(["main", "demo", "demo/busy", "dataset", "upload", "../x", "0" * 64, "\ud800", "\0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
FIELDS = """
    pullRequest status comment user requestId sha deletions target repository gitIgnore newTitle
    name organization type private visibility gated fromRepo toRepo tag message startingPoint files path size
    key value sample paths expand operation objects oid content title namespace description item note position
"""
KEYS = st.sampled_from(FIELDS.split())
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=5)
JSON = VALUES | OBJECTS | st.dictionaries(KEYS, st.lists(OBJECTS, max_size=2), max_size=3)
BODIES = st.binary(max_size=60) | JSON.map(json.dumps).map(str.encode)
NAMES = ["Content-Type", "Range", "If-Range", "Host", "Cookie", "Content-Encoding", "X-Forwarded-Proto"]
FORMS = ["application/json", "application/x-www-form-urlencoded"]
OTHERS = [
    "bytes=0-",
    "bytes=5-1",
    "[::1",
    "a b",
    "\xe9",
    "hub_session=x",
    "hub_session=1.eA.0",
    "gzip",
    "https",
    "",
]
HEADERS = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(FORMS + OTHERS), max_size=3)
QUERIES = ["", "limit=x", "cursor=-1", "limit=99999999999999999999", "cursor=999999&limit=0", "expand=1"]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
    template=st.sampled_from(PATHS),
    kind=st.sampled_from(["models", "datasets", "spaces", "modelz"]),
    repo=st.sampled_from(["demo/busy", "demo/busy", "demo/none", "demo/%2e%2e", "/"]),
    word=WORDS,
    query=st.sampled_from(QUERIES),
    body=BODIES,
    headers=HEADERS,
    token=st.sampled_from([None, None, None, "", "nonsense"]),
)
def test_no_request_however_wrong_makes_the_server_fail(
    hub, busy, method, template, kind, repo, word, query, body, headers, token
):
    path = template.format(kind=kind, repo=repo, word=word)
    if method == "DELETE" and "repos" in path:
        return
    answer: Answer = hub.request(method, path + ("&" if "?" in path else "?") + query, body, token, headers)
    assert answer.status < 500, (answer.status, answer.body)
    is_page = answer.headers.get("Content-Type", "").startswith("text/html")
    is_http = answer.body != b"Invalid HTTP request received."
    if answer.status >= 400 and method != "HEAD" and is_http and not is_page:
        assert isinstance(answer.json["error"], str)


@pytest.mark.parametrize("name", ["%20", "x%20", "%20%20x", "%C2%A0", "%0D%0A"])
def test_refusal_that_quotes_blanks_is_an_answer(hub, busy, name):
    for method, path in [
        ("GET", f"/api/models/{busy}/revision/{name}"),
        ("DELETE", f"/api/models/{busy}/tag/{name}"),
        ("GET", f"/api/collections/demo/{name}"),
    ]:
        assert hub.request(method, path).status in (400, 404), path
