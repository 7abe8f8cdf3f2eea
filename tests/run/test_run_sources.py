"""Source files that lie in a dataset repo, at a revision."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi
from run_support import HubAddress, backforth, client, small_recipe, trees, write_lines, write_recipe


def test_a_source_on_the_hub_is_pinned_and_named_in_the_provenance(
    empty_hub: HubAddress, tmp_path: Path
) -> None:
    api = HfApi(endpoint=empty_hub.endpoint, token=empty_hub.token)
    api.create_repo("demo/trees", repo_type="dataset")
    for name, count in (("kept.jsonl", 4), ("other.jsonl", 7)):
        path = write_lines(tmp_path / name, trees(count))
        api.upload_file(
            path_or_fileobj=path, path_in_repo=f"trees/{name}", repo_id="demo/trees", repo_type="dataset"
        )
    recipe = small_recipe(tmp_path, empty_hub, "onhub") | {"endpoints": {}}
    recipe["stages"] = {"seed": {"source": "hf://datasets/demo/trees@main/trees/kept*.jsonl"}}
    done = backforth(empty_hub, "run", str(write_recipe(tmp_path, recipe)))
    assert done.returncode == 0, done.stderr
    sha = api.repo_info("demo/trees", repo_type="dataset").sha
    found = client(
        empty_hub,
        """
import datasets, json
from huggingface_hub import hf_hub_download
path = hf_hub_download("demo/onhub-seed", "provenance.json", repo_type="dataset", revision="v1")
rows = datasets.load_dataset("demo/onhub-seed", revision="v1", split="train").num_rows
print(json.dumps({"rows": rows, "text": open(path).read()}))
""",
    )
    assert found["rows"] == 4
    assert f"hf://datasets/demo/trees@{sha}/trees/kept.jsonl" in found["text"]
    assert "other.jsonl" not in found["text"]
    missing = "stages.seed.source=hf://datasets/demo/trees@main/nothing.jsonl"
    refused = backforth(empty_hub, "run", str(tmp_path / "recipe.yaml"), "--set", missing)
    assert refused.returncode == 1
    assert "nothing.jsonl: there is no such file" in refused.stderr
