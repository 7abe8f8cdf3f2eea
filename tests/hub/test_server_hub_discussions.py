from urllib.parse import urlsplit

import pytest
from hub_support import OTHER_TOKEN, READER_TOKEN, file, header, ndjson
from huggingface_hub import CommitOperationAdd, CommitOperationDelete
from huggingface_hub.errors import HfHubHTTPError

from hub_tools.hub.server.checking import check


def put(path, data=b"x\n"):
    return CommitOperationAdd(path, data)


def commit(api, repo, *operations, **more):
    return api.create_commit(repo, list(operations), commit_message="work", **more)


def test_discussion_is_commented_renamed_closed_and_listed(hub, repo):
    api = hub.api()
    found = api.create_discussion(repo, "A question", description="Why <b>?")
    assert (found.num, found.status, found.author) == (1, "open", "demo")
    assert found.events[0].rendered == "<p>Why &lt;b&gt;?</p>"
    comment = api.comment_discussion(repo, 1, "first")
    assert api.edit_discussion_comment(repo, 1, comment.id, "second").number_of_edits == 2
    api.rename_discussion(repo, 1, "An answer")
    api.change_discussion_status(repo, 1, "closed", comment="done")
    api.create_pull_request(repo, "Later")
    details = api.get_discussion_details(repo, 1)
    assert (details.title, details.status) == ("An answer", "closed")
    assert [event.type for event in details.events] == [
        "comment",
        "comment",
        "title-change",
        "comment",
        "status-change",
    ]
    assert [one.num for one in api.get_repo_discussions(repo)] == [2, 1]
    assert [one.num for one in api.get_repo_discussions(repo, discussion_status="open")] == [2]
    assert [
        one.num for one in api.get_repo_discussions(repo, discussion_type="discussion", author="demo")
    ] == [1]
    with pytest.warns(UserWarning, match="irreversible"):
        assert api.hide_discussion_comment(repo, 1, comment.id).hidden
    assert b"second" not in hub.request("GET", f"/api/models/{repo}/discussions/1").body


def test_many_discussions_come_in_pages(hub, repo):
    for number in range(53):
        hub.request("POST", f"/api/models/{repo}/discussions", {"title": f"t{number}"})
    assert [one.num for one in hub.api().get_repo_discussions(repo)] == list(range(53, 0, -1))


def test_pull_request_is_shown_and_merged_onto_a_branch_that_moved_on(hub, repo):
    api = hub.api()
    commit(api, repo, put("old.txt"), put("kept.txt", b"one\n"), put("gone.txt"))
    asked = commit(
        api,
        repo,
        put("kept.txt", b"two\n"),
        put("new.bin", b"\0"),
        CommitOperationDelete("gone.txt"),
        create_pr=True,
    )
    commit(api, repo, put("else.txt"))
    details = api.get_discussion_details(repo, asked.pr_num)
    assert (details.status, details.target_branch, details.conflicting_files) == (
        "open",
        "refs/heads/main",
        [],
    )
    assert "-one\n+two\n" in details.diff
    assert "Binary files /dev/null and b/new.bin differ" in details.diff
    assert "else.txt" not in details.diff
    api.merge_pull_request(repo, asked.pr_num, comment="thanks")
    assert set(api.list_repo_files(repo)) == {".gitattributes", "old.txt", "kept.txt", "new.bin", "else.txt"}
    merged = api.get_discussion_details(repo, asked.pr_num)
    assert (merged.status, merged.merge_commit_oid) == ("merged", api.model_info(repo).sha)
    assert api.list_repo_commits(repo)[0].title == f"work (#{asked.pr_num})"
    for refused in (api.merge_pull_request, lambda *of: api.change_discussion_status(*of, "closed")):
        with pytest.raises(HfHubHTTPError, match=r"merged|not an open"):
            refused(repo, asked.pr_num)
    with pytest.raises(HfHubHTTPError, match="is merged; open another one"):
        commit(api, repo, put("late.txt"), revision=f"refs/pr/{asked.pr_num}")


def test_clashing_pull_request_is_not_merged(hub, repo):
    api = hub.api()
    asked = commit(api, repo, put("a.txt", b"theirs"), put("same.txt"), create_pr=True)
    commit(api, repo, put("a.txt", b"ours"), put("same.txt"))
    before = api.model_info(repo).sha
    assert api.get_discussion_details(repo, asked.pr_num).conflicting_files == ["a.txt"]
    with pytest.raises(HfHubHTTPError, match=r"conflicts with its target in a\.txt") as refused:
        api.merge_pull_request(repo, asked.pr_num)
    assert refused.value.response.status_code == 409
    assert api.model_info(repo).sha == before


def test_pull_request_to_another_branch_changes_that_one(hub, repo):
    api = hub.api()
    api.create_branch(repo, branch="dev")
    asked = commit(api, repo, put("d.txt"), revision="dev", create_pr=True)
    api.merge_pull_request(repo, asked.pr_num)
    assert "d.txt" in api.list_repo_files(repo, revision="dev")
    assert "d.txt" not in api.list_repo_files(repo)


def test_others_propose_but_do_not_decide(hub, repo):
    theirs = hub.api(OTHER_TOKEN)
    asked = commit(theirs, repo, put("p.txt"), put("large.bin", b"\0" * 99), create_pr=True)
    commit(theirs, repo, put("q.txt"), revision="refs/pr/1")
    theirs.rename_discussion(repo, asked.pr_num, "Mine")
    own = commit(hub.api(), repo, put("own.txt"), create_pr=True)
    attempts = [
        lambda: theirs.merge_pull_request(repo, asked.pr_num),
        lambda: theirs.rename_discussion(repo, own.pr_num, "x"),
        lambda: commit(theirs, repo, put("x.txt"), revision=f"refs/pr/{own.pr_num}"),
        lambda: commit(theirs, repo, put("x.txt")),
        lambda: hub.api(READER_TOKEN).comment_discussion(repo, 1, "x"),
    ]
    for attempt in attempts:
        with pytest.raises(HfHubHTTPError) as refused:
            attempt()
        assert refused.value.response.status_code == 403
    hub.api().merge_pull_request(repo, asked.pr_num)
    assert {"p.txt", "q.txt", "large.bin"} <= set(hub.api().list_repo_files(repo))


def test_proposals_go_to_branches_only(hub, repo):
    head = hub.api().model_info(repo).sha
    for revision in (head, "missing"):
        path = f"/api/models/{repo}/commit/{revision}?create_pr=1"
        answer = hub.request("POST", path, ndjson(header(), file("a", b"x")))
        assert (answer.status, answer.headers["X-Error-Code"]) == (404, "RevisionNotFound")


@pytest.mark.parametrize("number", ["0", "99", "x", "9" * 30, "-1"])
def test_missing_discussion_is_a_clear_error(hub, repo, number):
    for method, rest, body in [
        ("GET", "", None),
        ("POST", "/comment", {"comment": "x"}),
        ("POST", "/merge", {}),
    ]:
        answer = hub.request(method, f"/api/models/{repo}/discussions/{number}{rest}", body)
        assert answer.status in (400, 404)
        assert answer.json["error"]


def test_attachment_shows_in_a_comment_and_only_kinds_that_browsers_play_are_taken(hub, repo, tmp_path):
    api, picture = hub.api(), b"\x89PNG\r\n\x1a\n" + bytes(range(200))
    (tmp_path / "p.png").write_bytes(picture)
    address = api.upload_attachment(tmp_path / "p.png")
    path = urlsplit(address).path
    shown = hub.request("GET", path, token="")
    assert (shown.status, shown.body, shown.headers["Content-Type"]) == (200, picture, "image/png")
    number = api.create_discussion(repo, title="look", description=f"![it]({address})").num
    assert f'src="{path}"'.encode() in hub.request("GET", f"/{repo}/discussions/{number}").body
    assert check(hub.store).problems == []
    for headers, token, status in [
        ({"Content-Type": "text/html"}, None, 415),
        ({}, None, 415),
        ({"Content-Type": "image/png"}, "", 401),
        ({"Content-Type": "image/png"}, READER_TOKEN, 403),
    ]:
        assert hub.request("POST", "/uploads", b"<script>", token, headers).status == status
    large = {"Content-Type": "image/png", "Content-Length": str(11 << 20)}
    assert hub.request("POST", "/uploads", b"", headers=large).status == 413
    assert hub.request("GET", "/uploads/" + "0" * 32 + ".png").status == 404
