import os

import pytest
import yaml
from hub_support import OTHER_TOKEN, commit, file
from huggingface_hub import CommitOperationAdd, EvalResultEntry, eval_result_entries_to_yaml
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError


def status(call, *arguments, **options):
    with pytest.raises(HfHubHTTPError) as refused:
        call(*arguments, **options)
    return refused.value.response.status_code


def unique(word):
    return f"demo/{word}-{os.urandom(4).hex()}"


def test_create_exists_delete(hub):
    api, name = hub.api(), unique("made")
    url = api.create_repo(name, repo_type="dataset", private=True)
    assert str(url) == f"{hub.endpoint}/datasets/{name}"
    assert api.create_repo(name, repo_type="dataset", exist_ok=True).repo_id == name
    assert status(api.create_repo, name, repo_type="dataset") == 409
    assert api.dataset_info(name).private is True
    assert api.repo_exists(name, repo_type="dataset")
    assert not api.repo_exists(name)
    api.delete_repo(name, repo_type="dataset")
    assert not api.repo_exists(name, repo_type="dataset")
    api.delete_repo(name, repo_type="dataset", missing_ok=True)
    with pytest.raises(RepositoryNotFoundError):
        api.delete_repo(name, repo_type="dataset")


@pytest.mark.parametrize(
    "name", ["", "..", "a--b", ".hidden", "x.git", "a b", "ä", "a/b/c", "x" * 97, "demo/../x"]
)
def test_names_that_are_no_names_are_refused(hub, name):
    answer = hub.request("POST", "/api/repos/create", {"name": name})
    assert (answer.status, "repo name" in answer.json["error"]) == (400, True)


def test_moved_repo_is_found_under_both_names(hub, repo):
    api, name = hub.api(), unique("moved")
    api.upload_file(path_or_fileobj=b"x", path_in_repo="a.txt", repo_id=repo)
    api.move_repo(repo, name)
    assert api.model_info(repo).id == api.model_info(name).id == name
    assert status(api.move_repo, name, "other/taken") == 403
    api.create_repo(repo)
    assert api.model_info(repo).id == repo
    assert status(api.move_repo, name, repo) == 409


def test_tags_and_branches(hub, repo):
    api = hub.api()
    first = api.model_info(repo).sha
    api.create_tag(repo, tag="v1", tag_message="one")
    api.create_tag(repo, tag="v1", exist_ok=True)
    assert status(api.create_tag, repo, tag="v1") == 409
    api.create_branch(repo, branch="dev/a", revision="v1")
    api.create_branch(repo, branch="dev/a", exist_ok=True)
    assert status(api.create_branch, repo, branch="dev/a") == 409
    api.upload_file(path_or_fileobj=b"x", path_in_repo="a.txt", repo_id=repo)
    api.create_tag(repo, tag="old", revision=first)
    refs = api.list_repo_refs(repo)
    assert {ref.name: ref.target_commit for ref in refs.tags} == {"v1": first, "old": first}
    assert {ref.name for ref in refs.branches} == {"main", "dev/a"}
    api.delete_tag(repo, tag="v1")
    api.delete_branch(repo, branch="dev/a")
    assert {ref.name for ref in api.list_repo_refs(repo).tags} == {"old"}
    assert status(api.delete_branch, repo, branch="main") == 403
    for missing in (
        lambda: api.delete_tag(repo, tag="v1"),
        lambda: api.create_tag(repo, tag="x", revision="nope"),
    ):
        with pytest.raises(RevisionNotFoundError):
            missing()


@pytest.mark.parametrize(
    "name", ["", "a b", "a..b", "-a", "a~1", "refs/heads/x", "0" * 40, "a.lock", ".a", "x\ny"]
)
def test_ref_names_that_git_would_refuse(hub, repo, name):
    assert hub.request("POST", f"/api/models/{repo}/tag/main", {"tag": name}).status == 400


def test_info_carries_card_tags_and_files(hub, repo):
    head = "license: mit\ntags: [synthetic, a]\ndatasets: [demo/d]\npipeline_tag: text-generation\n"
    card = f"---\n{head}---\n# Hi\n"
    api = hub.api()
    adds = [CommitOperationAdd("README.md", card.encode()), CommitOperationAdd("w.bin", b"\0" * 99)]
    made = api.create_commit(repo, adds, commit_message="x")
    info = api.model_info(repo, files_metadata=True)
    assert (info.sha, info.author, info.card_data.license) == (made.oid, "demo", "mit")
    assert set(info.tags) == {"license:mit", "synthetic", "a", "dataset:demo/d", "text-generation"}
    sizes = {sibling.rfilename: (sibling.size, bool(sibling.lfs)) for sibling in info.siblings}
    assert sizes["w.bin"] == (99, True)
    assert sizes["README.md"] == (len(card), False)
    assert [i.id for i in api.list_models(author="demo", filter="dataset:demo/d", search=repo[5:])] == [repo]
    assert list(api.list_models(author="other", search=repo[5:])) == []


def unfolding(node):
    """Twelve levels, each of ten references to the one before: 10**12 values in a few lines."""
    levels = [node(",".join([f"*a{i - 1}"] * 10)) if i else "{y: 1}" for i in range(12)]
    return "\n".join(f"a{i}: &a{i} {level}" for i, level in enumerate(levels))


HOSTILE = {
    "deep": "a: " + "[" * 100_000,
    "aliases": unfolding(lambda inner: f"[{inner}]"),
    "merges": unfolding(lambda inner: f"{{<<: [{inner}], x: 1}}"),
    "int": "a: !!int ''",
    "time": "a: !!timestamp x",
    "circle": "a: &a [*a]",
    "surrogate": 'a: "\\ud800"',
    "list": "- a list",
    "python": "a: !!python/object/apply:os.system [true]",
}


@pytest.mark.parametrize("head", HOSTILE.values(), ids=HOSTILE)
def test_hostile_card_is_a_card_without_metadata(hub, repo, head):
    card = f"---\n{head}\n---\nbody"
    checked = hub.request("POST", "/api/validate-yaml", {"content": card, "repoType": "model"}, token="")
    assert (checked.status, bool(checked.json["errors"])) == (400, True)
    commit(hub, repo, file("README.md", card.encode()))
    assert hub.api().model_info(repo).card_data is None
    assert hub.request("GET", f"/{repo}").status == 200


def test_values_json_cannot_hold_become_text(hub, repo):
    head = b"---\na: .nan\nb: 2024-01-02\nc: 99999999999999999999999\n1: x\nd: !!binary aGk=\n---\n"
    commit(hub, repo, file("README.md", head))
    data = hub.request("GET", f"/api/models/{repo}").json["cardData"]
    assert data == {"a": "nan", "b": "2024-01-02", "c": "99999999999999999999999", "1": "x", "d": "b'hi'"}


def test_collection_of_a_run(hub, repo):
    api, data, title = hub.api(), unique("data"), f"Run {os.urandom(4).hex()}"
    api.create_repo(data, repo_type="dataset", private=True)
    made = api.create_collection(title, namespace="demo", description="all of it", exists_ok=True)
    assert api.create_collection(title, namespace="demo", exists_ok=True).slug == made.slug
    assert status(api.create_collection, title, namespace="demo") == 409
    assert status(api.create_collection, title, namespace="other") == 403
    api.add_collection_item(made.slug, repo, "model", note="first")
    api.add_collection_item(made.slug, data, "dataset", exists_ok=True)
    assert status(api.add_collection_item, made.slug, data, "dataset") == 409
    assert status(api.add_collection_item, made.slug, "demo/none", "dataset") == 404
    items = api.get_collection(made.slug).items
    assert [(i.item_id, i.item_type, i.note) for i in items] == [
        (repo, "model", "first"),
        (data, "dataset", None),
    ]
    # A private repo in a public collection stays private.
    assert [i.item_id for i in hub.api(OTHER_TOKEN).get_collection(made.slug).items] == [repo]
    api.update_collection_item(made.slug, items[1].item_object_id, position=0, note="moved up")
    assert [(i.item_id, i.note) for i in api.get_collection(made.slug).items] == [
        (data, "moved up"),
        (repo, "first"),
    ]
    api.delete_collection_item(made.slug, items[0].item_object_id)
    renamed = api.update_collection_metadata(made.slug, title=title + " again", private=True)
    assert renamed.slug != made.slug
    assert api.get_collection(made.slug).title == title + " again"
    assert [c.slug for c in api.list_collections(owner="demo", item=f"datasets/{data}")] == [renamed.slug]
    assert renamed.slug not in [c.slug for c in hub.api(OTHER_TOKEN).list_collections(owner="demo")]
    assert status(hub.api(OTHER_TOKEN).get_collection, made.slug) == 404
    api.delete_collection(made.slug)
    assert status(api.get_collection, made.slug) == 404


def test_wrong_field_is_named(hub):
    answer = hub.request("POST", "/api/repos/create", {"name": "x", "type": "kernel"})
    assert (answer.status, answer.json["error"]) == (
        400,
        "type: Input should be 'model', 'dataset' or 'space'",
    )


def test_tags_are_listed_by_type_and_found_by_filters(hub, repo):
    card = "---\nlicense: mit\nlanguage: [en]\nbase_model: demo/base\ntags: [odd]\n---\n"
    adds = [CommitOperationAdd("README.md", card.encode()), CommitOperationAdd("w.safetensors", b"\0" * 9)]
    hub.api().create_commit(repo, adds, commit_message="x")
    tags = hub.api().get_model_tags()
    for type_, tag in [("license", "license:mit"), ("language", "en"), ("other", "odd")]:
        assert tag in [one["id"] for one in tags[type_]]
    for tag in ("safetensors", "base_model:demo/base", "base_model:finetune:demo/base", "license:mit"):
        assert repo in [model.id for model in hub.api().list_models(filter=tag)], tag
    assert isinstance(hub.api().get_dataset_tags(), dict)


def test_results_of_evaluations_are_told_and_ranked(hub, repo):
    api, name = hub.api(), f"demo/bench-{os.urandom(4).hex()}"
    api.create_repo(name, repo_type="dataset")
    entries = [EvalResultEntry(dataset_id=name, task_id="t", value=value) for value in (0.5, 0.75)]
    good = yaml.safe_dump(eval_result_entries_to_yaml(entries)).encode()
    adds = [CommitOperationAdd(".eval_results/a.yaml", good)]
    for number, bad in enumerate(
        [b"{", b"[1]", b"- dataset: {id: x}", b"a: b", b"- !!python/name:os.system x"]
    ):
        adds.append(CommitOperationAdd(f".eval_results/bad{number}.yaml", bad))
    api.create_commit(repo, adds, commit_message="results")
    told = api.model_info(repo, expand=["evalResults"]).eval_results
    assert [one.value for one in told] == [0.5, 0.75]
    board = api.get_dataset_leaderboard(name)
    assert [(one.rank, one.model_id, one.value) for one in board] == [(1, repo, 0.75), (2, repo, 0.5)]
    api.update_repo_settings(repo, gated="manual")
    assert hub.api(OTHER_TOKEN).get_dataset_leaderboard(name) == []
