from urllib.parse import quote, urlencode

import pytest
from hub_support import OTHER_TOKEN, commit, file
from huggingface_hub import CommitOperationAdd

from hub_tools.hub.server.accounts import Accounts

CARD = b"---\nlicense: mit\n---\n# Title\n<script>alert(1)</script>\n[x](javascript:alert(1)) \xff\n"
SCRIPT = '<script>alert("x")</script>'


@pytest.fixture
def page_repo(hub, repo):
    name = f"{SCRIPT}.txt".replace("/", "_")
    commit(hub, repo, file("README.md", CARD), file("page.html", SCRIPT.encode()), file(name, b"x"))
    return repo


def get(hub, path, cookie=None, token=""):
    return hub.request("GET", path, token=token, headers={"Cookie": cookie} if cookie else None)


def test_card_is_rendered_and_nothing_in_it_runs(hub, page_repo):
    answer = get(hub, f"/{page_repo}")
    html = answer.body.decode()
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert '<h1 id="title">Title</h1>' in html
    assert "<script" not in html
    assert "alert(1)</" not in html
    assert 'href="javascript' not in html
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "script-src" not in policy


def test_files_of_a_repo_never_become_pages_of_this_site(hub, page_repo):
    answer = get(hub, f"/{page_repo}/resolve/main/page.html")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_every_address_that_clients_print_opens(hub, page_repo):
    api = hub.api()

    def add(path, **how):
        return api.create_commit(page_repo, [CommitOperationAdd(path, b"x")], commit_message="x", **how)

    made, proposed = add("a.txt"), add("p.txt", create_pr=True)
    before = api.list_repo_commits(page_repo)[1].commit_id
    collection = api.create_collection(page_repo, namespace="demo", description=SCRIPT)
    api.add_collection_item(collection.slug, page_repo, "model")
    api.create_tag(page_repo, tag="v1")
    addresses = [f"{hub.endpoint}/{page_repo}", made.commit_url, proposed.pr_url, collection.url]
    for address in [*addresses, f"{hub.endpoint}/{page_repo}/tree/v1", f"{hub.endpoint}/"]:
        answer = get(hub, address.removeprefix(hub.endpoint))
        assert (answer.status, page_repo in answer.body.decode()) == (200, True), address
        assert b"<script" not in answer.body
    assert b"p.txt" in get(hub, proposed.pr_url.removeprefix(hub.endpoint)).body
    assert b"a.txt" not in get(hub, f"/{page_repo}/commit/{before}").body


def login(hub, token, target, **headers):
    form = {"Content-Type": "application/x-www-form-urlencoded", **headers}
    return hub.request("POST", "/login", urlencode({"token": token, "next": target}), token="", headers=form)


def test_private_page_asks_for_the_token_and_then_opens(hub, page_repo):
    hub.api().update_repo_settings(page_repo, visibility="private")
    path = f"/{page_repo}"
    missing, private = get(hub, "/demo/missing"), get(hub, path)
    assert (private.status, missing.status) == (401, 401)
    assert b"alert(1)" not in private.body
    assert private.body.replace(path.encode(), b"") == missing.body.replace(b"/demo/missing", b"")
    answer = login(hub, hub.token, path)
    assert (answer.status, answer.headers["Location"]) == (303, path)
    assert "HttpOnly" in answer.headers["Set-Cookie"]
    assert "SameSite=lax" in answer.headers["Set-Cookie"]
    cookie = answer.headers["Set-Cookie"].split(";")[0]
    assert hub.token not in cookie
    assert get(hub, path, cookie).status == 200
    assert get(hub, path + "/resolve/main/README.md", cookie).body == CARD
    assert page_repo in get(hub, "/", cookie).body.decode()
    assert page_repo not in get(hub, "/").body.decode()


def test_cookie_of_another_user_or_a_forged_one_opens_nothing(hub, page_repo):
    hub.api().update_repo_settings(page_repo, visibility="private")
    other = login(hub, OTHER_TOKEN, "/").headers["Set-Cookie"].split(";")[0]
    assert get(hub, f"/{page_repo}", other).status == 404
    assert get(hub, f"/{page_repo}", other[:-16] + "0" * 16).status == 401


def test_cookie_does_not_write(hub, page_repo):
    cookie = login(hub, hub.token, "/").headers["Set-Cookie"].split(";")[0]
    path = f"/api/models/{page_repo}/tag/main"
    assert hub.request("POST", path, {"tag": "v9"}, token="", headers={"Cookie": cookie}).status == 401


def test_session_ends_with_the_token_that_began_it(hub, page_repo):
    hub.api().update_repo_settings(page_repo, visibility="private")
    accounts = Accounts(hub.store)
    kept, lost = accounts.add("passing", "write"), accounts.add("passing", "read", ("demo",))
    cookies = [login(hub, one.token, "/").headers["Set-Cookie"].split(";")[0] for one in (kept, lost)]
    assert [get(hub, f"/{page_repo}", cookie).status for cookie in cookies] == [200, 200]
    accounts.revoke("passing", "read")
    assert [get(hub, f"/{page_repo}", cookie).status for cookie in cookies] == [200, 401]
    accounts.revoke("passing")
    assert get(hub, f"/{page_repo}", cookies[0]).status == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
def test_forms_of_other_sites_log_nobody_in_or_out(hub, headers):
    for answer in (
        login(hub, hub.token, "/", **headers),
        hub.request("POST", "/logout", "", token="", headers=headers),
    ):
        assert (answer.status, answer.headers["Set-Cookie"]) == (403, None)
    own = {"Sec-Fetch-Site": "same-origin", "Origin": hub.endpoint}
    assert login(hub, hub.token, "/", **own).status == 303
    assert login(hub, hub.token, "/", Origin=hub.endpoint).status == 303


def test_browsers_get_refusals_as_pages_and_clients_as_json(hub, page_repo):
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    for path, words in (
        ("/a/b/c/d", b"Not here"),
        (f"/{page_repo}/resolve/main/none", b"does not exist"),
        ("/demo/none/resolve/main/none", b"not for you to see"),
    ):
        answer = hub.request("GET", path, headers=browser)
        assert answer.status == 404
        assert words in answer.body.partition(b"<h1>")[2]
        assert "error" in hub.request("GET", path).json
    assert "error" in hub.request("GET", "/api/models/demo/none", headers=browser).json
    asked = hub.request("GET", "/demo/none/resolve/main/x", token="", headers=browser)
    assert b'value="/demo/none/resolve/main/x"' in asked.body


def test_logging_out_takes_a_press_of_the_button(hub):
    cookie = login(hub, hub.token, "/").headers["Set-Cookie"].split(";")[0]
    assert get(hub, "/logout", cookie).headers["Set-Cookie"] is None
    answer = hub.request("POST", "/logout", "", token="", headers={"Cookie": cookie})
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    assert answer.headers["Set-Cookie"].startswith('hub_session=""; ')


def test_wrong_token_does_not_log_in(hub):
    answer = login(hub, "hf_wrong", "/x")
    assert (answer.status, answer.headers["Set-Cookie"]) == (401, None)


@pytest.mark.parametrize(
    "target", ["https://evil.example", "//evil.example", "/\\evil.example", "", "/\tx", "\r\nX: y"]
)
def test_login_leads_nowhere_else(hub, target):
    assert login(hub, hub.token, target).headers["Location"] == "/"


def test_missing_revision_is_a_readable_page(hub, page_repo):
    answer = get(hub, f"/{page_repo}/tree/{quote(SCRIPT, safe='')}")
    assert answer.status == 404
    assert b"<script" not in answer.body
    assert b"&lt;script&gt;" in answer.body
