from pages_support import MARK, change, dataset, opened, parquet, statement


def test_private_repos_show_up_for_their_owner_alone(hub):
    name, _ = dataset(hub, {"a.txt": b"x"})
    api = hub.api()
    shelf = api.create_collection(f"Shelf of {name}", namespace="demo")
    api.add_collection_item(shelf.slug, name, "dataset", note=MARK)
    assert name in opened(hub, f"/collections/{shelf.slug}", token="")
    api.update_repo_settings(name, repo_type="dataset", visibility="private")
    pages = ("", "/tree/main", "/viewer", "/versions", "/lineage", "/discussions", "/commits/main")
    for path in pages:
        assert "Log in" in opened(hub, f"/datasets/{name}{path}", 401, token="")
        opened(hub, f"/datasets/{name}{path}", 404, token="hf_other_writes")
        opened(hub, f"/datasets/{name}{path}")
    for path in ("/", f"/?search={name}", f"/collections/{shelf.slug}"):
        assert f"/datasets/{name}" not in opened(hub, path, token="")
        assert f"/datasets/{name}" in opened(hub, path)
    assert "&lt;b&gt;" in opened(hub, f"/collections/{shelf.slug}")


def test_insides_of_a_gated_repo_are_for_those_let_in(hub):
    files = {"a.txt": b"inside of it", "provenance.json": statement(read=4_321, kept=4_321)}
    files["data/train.parquet"] = parquet([{"text": "inside of it"}])
    name, _ = dataset(hub, files)
    change(hub, name, {"a.txt": b"inside of it, too"}, create_pr=True)
    hub.api().update_repo_settings(name, repo_type="dataset", gated="manual")
    closed = ("/blob/main/a.txt", "/viewer", "/commit/main", "/discussions/1")
    for path in closed:
        opened(hub, f"/datasets/{name}{path}", 401, token="")
        assert "inside" not in opened(hub, f"/datasets/{name}{path}", 403, token="hf_other_writes")
        opened(hub, f"/datasets/{name}{path}")
    for path in ("", "/tree/main", "/versions", "/lineage"):
        assert "4,321" not in opened(hub, f"/datasets/{name}{path}", token="")


def test_labels_lead_to_the_repos_that_the_viewer_may_see(hub):
    source, _ = dataset(hub, {"a.txt": b"x"})
    card = f"---\nsource_datasets: [{source}, demo/none]\ntags: [{source}]\n---\n# Made of others\n"
    name, _ = dataset(hub, {"README.md": card.encode()})
    link = f'<a class="chip" href="/datasets/{source}">{source}</a>'
    html = opened(hub, f"/datasets/{name}", token="")
    assert html.count(link) == 1
    assert '<span class="chip">demo/none</span>' in html
    hub.api().update_repo_settings(source, repo_type="dataset", visibility="private")
    assert link not in opened(hub, f"/datasets/{name}", token="")
    assert link in opened(hub, f"/datasets/{name}")


def test_moved_repo_leads_to_its_new_pages(hub):
    name, _ = dataset(hub, {"a.txt": b"x"})
    hub.api().move_repo(name, f"{name}-new", repo_type="dataset")
    answer = hub.request("GET", f"/datasets/{name}/tree/main?page=1")
    assert (answer.status, answer.headers["Location"]) == (307, f"/datasets/{name}-new/tree/main?page=1")


def test_discussion_shows_comments_as_safe_markdown_and_what_is_proposed(hub):
    name, _ = dataset(hub, {"a.txt": b"old\n"})
    api = hub.api()
    talk = api.create_discussion(
        name, "A <b>question</b>", repo_type="dataset", description="**bold** <script>x</script>"
    )
    change(hub, name, {"a.txt": b"new\n"}, create_pr=True)
    listed = opened(hub, f"/datasets/{name}/discussions")
    assert "A &lt;b&gt;question&lt;/b&gt;" in listed
    assert "pull request" in listed
    html = opened(hub, f"/datasets/{name}/discussions/{talk.num}")
    assert "<strong>bold</strong>" in html
    proposed = opened(hub, f"/datasets/{name}/discussions/{talk.num + 1}")
    assert "-old" in proposed
    assert "+new" in proposed
    assert "question" not in opened(hub, f"/datasets/{name}/discussions?page=2")
    for number in ("0", "99", "x", "%C2%B2"):
        opened(hub, f"/datasets/{name}/discussions/{number}", 404)


def test_whole_life_of_a_pull_request_can_be_read(hub):
    name, _ = dataset(hub, {"a.txt": b"old\n"})
    api = hub.api()
    how = {"repo_id": name, "repo_type": "dataset"}
    empty = api.create_pull_request(title="Nothing yet", **how)
    page = f"/datasets/{name}/discussions/{empty.num}"
    assert "It changes no files yet" in opened(hub, page)
    change(hub, name, {"b.txt": b"new\n"}, revision=f"refs/pr/{empty.num}")
    assert ">b.txt</a>" in opened(hub, page)
    assert ">b.txt</a>" in opened(hub, f"/datasets/{name}/tree/refs%2Fpr%2F{empty.num}")
    comment = api.comment_discussion(discussion_num=empty.num, comment="to be hidden", **how)
    api.rename_discussion(discussion_num=empty.num, new_title=f"Something {MARK}", **how)
    api.hide_discussion_comment(discussion_num=empty.num, comment_id=comment.id, **how)
    api.merge_pull_request(discussion_num=empty.num, **how)
    html = opened(hub, page)
    assert "This comment was hidden" in html
    assert "to be hidden" not in html
    assert "changed the status to merged" in html
    assert "changed the title from “Nothing yet”" in html
    assert MARK not in html
    assert ">merged</span>" in opened(hub, f"/datasets/{name}/discussions")
    assert ">b.txt</a>" in opened(hub, f"/datasets/{name}/tree/main")
