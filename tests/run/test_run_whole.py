"""One real run of the default graph on a tiny model, and what a user does with it and after it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from run_support import HubAddress, backforth, client, small_recipe, states, write_recipe

NODES = [
    "seed",
    "train-backward",
    "responses",
    "backtranslate",
    "train-forward",
    "curate",
    "rewrite",
    "distill",
    "mix",
    "train-final",
    "report",
]
AFTER_REWRITE = {"rewrite", "mix", "train-final", "report"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole")


@pytest.fixture(scope="module")
def recipe(folder: Path, hub: HubAddress) -> Path:
    """The recipe, run once to its end."""
    path = write_recipe(folder, small_recipe(folder, hub, "whole"))
    done = backforth(hub, "run", str(path))
    assert done.returncode == 0, done.stderr
    assert states(done.stderr) == dict.fromkeys(NODES, "ran")
    return path


@pytest.mark.timeout(600)
def test_every_node_ends_in_the_table_with_counts_that_add_up(recipe: Path, hub: HubAddress) -> None:
    rows = client(
        hub,
        "import datasets, json; print(json.dumps(datasets.load_dataset('demo/whole-report', "
        "split='train')[:]))",
    )
    table = {}
    for node, measure, value in zip(rows["node"], rows["measure"], rows["value"], strict=True):
        table.setdefault(node, {})[measure] = value
    assert set(table) == set(NODES) - {"report"}
    for measures in table.values():
        rejected = sum(value for name, value in measures.items() if name.startswith("rejected: "))
        assert measures["rows read"] == measures["rows kept"] + rejected
    assert table["responses"]["rows read"] == 12
    assert table["seed"]["rows kept"] == 10


def test_an_unmodified_client_loads_streams_and_reads_the_card(recipe: Path, hub: HubAddress) -> None:
    found = client(
        hub,
        """
import datasets, json
from huggingface_hub import DatasetCard, HfApi
whole = datasets.load_dataset("demo/whole-rewritten", revision="v1", split="train")
stream = list(datasets.load_dataset("demo/whole-rewritten", revision="v1", split="train", streaming=True))
scored = datasets.load_dataset("demo/whole-curated", split="train")
kept = datasets.load_dataset("demo/whole-curated", "kept", split="train")
card = DatasetCard.load("demo/whole-rewritten")
refs = HfApi().list_repo_refs("demo/whole-rewritten", repo_type="dataset")
print(json.dumps({
    "columns": whole.column_names, "same": whole.to_list() == stream,
    "scored": scored.num_rows, "kept": kept.num_rows, "subset": set(kept["id"]) <= set(scored["id"]),
    "license": card.data.license, "tags": sorted(tag.name for tag in refs.tags),
    "commits": len(HfApi().list_repo_commits("demo/whole-rewritten", repo_type="dataset")),
}))
""",
    )
    assert found["same"]
    assert found["subset"]
    assert 0 < found["kept"] == -(-found["scored"] // 2)
    assert {"id", "instruction", "response", "draft", "messages", "generation", "url"} <= set(
        found["columns"]
    )
    assert found["tags"][0].startswith("fp-")
    assert found["tags"][1:] == ["v1"]
    assert found["commits"] == 2, "the repo's first commit and ours"


def test_the_models_load_by_version(recipe: Path, hub: HubAddress) -> None:
    found = client(
        hub,
        """
import json
from huggingface_hub import ModelCard
from peft import PeftConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
final = AutoModelForCausalLM.from_pretrained("demo/whole-final-1m", revision="v1")
AutoTokenizer.from_pretrained("demo/whole-final-1m", revision="v1")
adapter = PeftConfig.from_pretrained("demo/whole-backward-1m", revision="v1")
card = ModelCard.load("demo/whole-final-1m")
print(json.dumps({"parameters": final.num_parameters(), "base": adapter.base_model_name_or_path,
    "of": card.data.base_model, "text": card.text}))
""",
    )
    assert found["parameters"] > 10_000
    assert found["base"] == found["of"] == "demo/tiny-1m"
    assert "demo/whole-mix" in found["text"]


def test_the_provenance_names_every_file_and_input(recipe: Path, hub: HubAddress) -> None:
    found = client(
        hub,
        """
import hashlib, json
from huggingface_hub import HfApi, hf_hub_download
name = "demo/whole-rewritten"
path = hf_hub_download(name, "provenance.json", repo_type="dataset", revision="v1")
statement = json.load(open(path))
sums = {}
for entry in statement["subject"]:
    file = hf_hub_download(name, entry["name"], repo_type="dataset", revision="v1")
    sums[entry["name"]] = hashlib.sha256(open(file, "rb").read()).hexdigest() == entry["digest"]["sha256"]
files = HfApi().list_repo_files(name, repo_type="dataset", revision="v1")
print(json.dumps({"sums": sums, "files": files, "text": open(path).read()}))
""",
    )
    assert all(found["sums"].values())
    assert set(found["sums"]) == set(found["files"]) - {"provenance.json", ".gitattributes"}
    assert "hf://datasets/demo/whole-curated@" in found["text"]
    assert "hf://demo/tiny-1m@" in found["text"]
    assert str(recipe.parent) not in found["text"]
    assert hub.token not in found["text"]


def test_a_second_run_finds_every_fingerprint_and_runs_nothing(recipe: Path, hub: HubAddress) -> None:
    done = backforth(hub, "run", str(recipe))
    assert done.returncode == 0, done.stderr
    assert states(done.stderr) == dict.fromkeys(NODES, "up to date")
    assert "nothing ran" in done.stdout


def test_another_folder_for_work_and_other_speed_settings_change_nothing(
    recipe: Path, hub: HubAddress, tmp_path: Path
) -> None:
    done = backforth(
        hub, "plan", str(recipe), "--set", f"work={tmp_path}", "--set", "endpoints.rewriter.concurrency=2"
    )
    assert done.returncode == 0, done.stderr
    assert "would run" not in done.stdout


@pytest.mark.timeout(600)
def test_another_rewrite_prompt_reruns_rewrite_and_what_follows_only(
    recipe: Path, hub: HubAddress, folder: Path
) -> None:
    prompts = folder / "prompts"
    prompts.mkdir()
    shutil.copy(Path("hub_tools/prompts/rewrite.jinja"), prompts)
    with (prompts / "rewrite.jinja").open("a") as file:
        file.write("\nAnswer in plain words.\n")
    change = ("--set", "prompts=prompts")
    planned = backforth(hub, "plan", str(recipe), *change)
    done = backforth(hub, "run", str(recipe), *change)
    assert done.returncode == 0, done.stderr
    ran = {node for node, state in states(done.stderr).items() if state == "ran"}
    assert ran == AFTER_REWRITE
    would = {line.split()[0] for line in planned.stdout.splitlines() if "would run" in line}
    assert would == AFTER_REWRITE
    again = backforth(hub, "run", str(recipe))
    assert set(states(again.stderr).values()) == {"up to date"}, "the first version is still there"


def test_one_node_alone_needs_what_it_reads(recipe: Path, hub: HubAddress) -> None:
    done = backforth(hub, "run", str(recipe), "--only", "mix")
    assert done.returncode == 0, done.stderr
    assert states(done.stderr) == dict.fromkeys(["seed", "train-backward", "responses", "backtranslate",
        "train-forward", "curate", "rewrite", "mix"], "up to date")  # fmt: skip
    missing = backforth(hub, "run", str(recipe), "--only", "mix", "--set", "stages.seed.max_pairs=3")
    assert missing.returncode == 1
    assert "seed, which is not up to date" in missing.stderr


@pytest.mark.timeout(600)
def test_a_published_mix_trains_a_model_from_the_command_line(recipe: Path, hub: HubAddress) -> None:
    done = backforth(
        hub, "train", "final", "--base", "demo/tiny-1m", "--dataset", "demo/whole-mix@v1", "--method",
        "qlora",
        "--set", "steps=2", "--set", "batch_size=2", "--set", "max_length=512", "--name", "alone",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "demo/alone-final-1m" in done.stdout
