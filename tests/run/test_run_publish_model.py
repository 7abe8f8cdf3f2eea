"""Models that were trained elsewhere, and adapters that are merged: published, loaded, served."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from model_support import MIX, base_folder, foreign_adapter, foreign_model, upload_mix
from run_support import BASE, HubAddress, backforth, client, write_recipe

LOCAL = """
import json, pathlib
from huggingface_hub import snapshot_download
folder = pathlib.Path(snapshot_download({repo!r}, revision={revision!r}))
found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
texts = {{name: (folder / name).read_bytes().decode("utf-8", "replace") for name in found}}
print(json.dumps({{"names": found, "leaks": [n for n, t in texts.items() if any(p in t for p in {places!r})],
    "statement": json.loads(texts["provenance.json"]), "card": texts["README.md"]}}))
"""


def published(hub: HubAddress, repo: str, *places: Path, revision: str = "v1") -> dict:
    local = [str(place) for place in (*places, Path.home(), Path.cwd())]
    return client(hub, LOCAL.format(repo=repo, revision=revision, places=local))


@pytest.fixture(scope="module")
def base(hub: HubAddress) -> Path:
    return base_folder(hub)


@pytest.fixture(scope="module")
def adapter(hub: HubAddress, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter from elsewhere, published as demo/elsewhere-1m."""
    folder = foreign_adapter(base, tmp_path_factory.mktemp("elsewhere") / "out")
    upload_mix(hub)
    done = backforth(
        hub, "publish-model", str(folder), "--repo", "demo/elsewhere-1m", "--base", BASE, "--dataset", MIX,
        "--license", "mit",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Not published: README.md, checkpoint-1, training_args.bin" in done.stdout
    return folder


def test_an_adapter_from_elsewhere_loads_by_version(adapter: Path, hub: HubAddress) -> None:
    found = client(
        hub,
        """
import json
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer
model = AutoPeftModelForCausalLM.from_pretrained("demo/elsewhere-1m", revision="v1")
AutoTokenizer.from_pretrained("demo/elsewhere-1m", revision="v1")
config = model.peft_config["default"]
print(json.dumps([config.r, config.base_model_name_or_path, config.revision]))
""",
    )
    assert found[:2] == [2, BASE]
    assert len(found[2]) == 40


def test_nothing_of_the_machine_it_was_trained_on_is_published(
    adapter: Path, hub: HubAddress, base: Path
) -> None:
    found = published(hub, "demo/elsewhere-1m", adapter, base, base.parent)
    assert found["leaks"] == []
    assert not [name for name in found["names"] if name.endswith((".bin", ".pt", "trainer_state.json"))]
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "pictures/loss.png"} <= set(
        found["names"]
    )


def test_its_statement_names_base_and_data_and_its_card_says_who_trained_it(
    adapter: Path, hub: HubAddress
) -> None:
    found = published(hub, "demo/elsewhere-1m")
    uris = [entry["uri"] for entry in
            found["statement"]["predicate"]["buildDefinition"]["resolvedDependencies"]]  # fmt: skip
    assert any(uri.startswith(f"hf://{BASE}@") for uri in uris)
    assert any(uri.startswith(f"hf://datasets/{MIX}@") for uri in uris)
    assert "It was trained elsewhere." in found["card"]
    assert f"base_model: {BASE}" in found["card"]
    assert "| 3.500 | 2.500 |" in found["card"]


def test_the_same_files_are_not_published_twice(adapter: Path, hub: HubAddress) -> None:
    done = backforth(
        hub, "publish-model", str(adapter), "--repo", "demo/elsewhere-1m", "--base", BASE, "--dataset", MIX,
        "--license", "mit",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "up to date" in done.stderr


def test_the_embedded_endpoint_serves_it(adapter: Path, hub: HubAddress, tmp_path: Path) -> None:
    from urllib.request import Request, urlopen

    from hub_tools.endpoints.server import ServerOptions
    from hub_tools.endpoints.server.process import EndpointProcess

    options = ServerOptions(BASE, adapters={"elsewhere": "demo/elsewhere-1m@v1"}, threads=1)
    with EndpointProcess.start(options, hub.environment(), tmp_path / "log") as process:
        answers = []
        for parameters in ({"max_new_tokens": 8}, {"max_new_tokens": 8, "adapter_id": "elsewhere"}):
            body = json.dumps({"inputs": "Count up to", "parameters": parameters}).encode()
            request = Request(f"{process.url}/generate", body, {"Content-Type": "application/json"})
            with urlopen(request, timeout=60) as reply:
                answers.append(json.load(reply)["generated_text"])
    assert answers[0] != answers[1]


def test_a_whole_model_from_elsewhere_loads_by_version(hub: HubAddress, base: Path, tmp_path: Path) -> None:
    folder = foreign_model(base, tmp_path / "out")
    done = backforth(hub, "publish-model", str(folder), "--repo", "demo/whole-1m", "--base", BASE)
    assert done.returncode == 0, done.stderr
    found = client(
        hub,
        """
import json
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained("demo/whole-1m", revision="v1")
AutoTokenizer.from_pretrained("demo/whole-1m", revision="v1")
print(json.dumps(model.num_parameters()))
""",
    )
    assert found > 10_000
    assert published(hub, "demo/whole-1m", base, tmp_path)["leaks"] == []


def test_an_adapter_is_merged_by_a_node_of_its_own(adapter: Path, hub: HubAddress, tmp_path: Path) -> None:
    recipe = {
        "name": "merging",
        "namespace": "demo",
        "work": str(tmp_path / "work"),
        "hub": {"endpoint": hub.endpoint},
        "stages": {"merge": {"reads": {"adapter": "demo/elsewhere-1m@v1", "base": BASE}}},
    }
    done = backforth(hub, "run", str(write_recipe(tmp_path, recipe)))
    assert done.returncode == 0, done.stderr
    found = client(
        hub,
        f"""
import json, torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM
merged = AutoModelForCausalLM.from_pretrained("demo/merging-merged-1m", revision="v1").float()
adapted = AutoPeftModelForCausalLM.from_pretrained("demo/elsewhere-1m", revision="v1").float()
base = AutoModelForCausalLM.from_pretrained("{BASE}").float()
ids = torch.arange(3, 40)[None]
with torch.inference_mode():
    logits = [model(ids).logits for model in (merged, adapted, base)]
print(json.dumps([(logits[0] - logits[1]).abs().mean().item(), (logits[2] - logits[1]).abs().mean().item()]))
""",
    )
    assert found[0] < 0.05 * found[1]
    card = published(hub, "demo/merging-merged-1m", tmp_path)
    assert card["leaks"] == []
    assert "| 3.500 | 2.500 |" in card["card"]


def test_an_adapter_of_another_base_is_not_merged(adapter: Path, hub: HubAddress, tmp_path: Path) -> None:
    from huggingface_hub import HfApi

    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    api.create_repo("demo/other-1m", private=True, exist_ok=True)
    api.upload_folder(repo_id="demo/other-1m", folder_path=base_folder(hub))
    recipe = {
        "name": "wrong",
        "namespace": "demo",
        "work": str(tmp_path / "work"),
        "hub": {"endpoint": hub.endpoint},
        "stages": {"merge": {"reads": {"adapter": "demo/elsewhere-1m@v1", "base": "demo/other-1m"}}},
    }
    done = backforth(hub, "run", str(write_recipe(tmp_path, recipe)))
    assert done.returncode == 1
    assert f"the adapter was trained on {BASE}@" in done.stderr
    assert "set reads.base to the former" in done.stderr


@pytest.mark.timeout(600)
def test_a_final_adapter_and_its_merged_model_are_repos_of_their_own(hub: HubAddress) -> None:
    upload_mix(hub)
    done = train_final(hub)
    assert done.returncode == 0, done.stderr
    found = client(
        hub,
        """
import json
from pathlib import Path
from huggingface_hub import hf_hub_download
from peft import PeftConfig
from transformers import AutoModelForCausalLM
adapter = PeftConfig.from_pretrained("demo/both-final-adapter-1m", revision="v1")
model = AutoModelForCausalLM.from_pretrained("demo/both-final-1m", revision="v1")
card = Path(hf_hub_download("demo/both-final-1m", "README.md", revision="v1")).read_text()
told = ["Loss on held-out pairs" in card, "## Answers to held-out prompts" in card]
print(json.dumps([adapter.r, type(model).__name__, *told]))
""",
    )
    assert found == [2, "LlamaForCausalLM", True, True]
    again = train_final(hub, "--set", "publish_step=1")
    assert again.returncode == 0, again.stderr
    assert "tok/s" in done.stderr
    assert "tok/s" not in again.stderr  # the weights of step 1 were still there
    statement = published(hub, "demo/both-final-adapter-1m", revision="v2")["statement"]
    settings = statement["predicate"]["buildDefinition"]["externalParameters"]
    assert settings["settings"]["publish_step"] == 1


def train_final(hub: HubAddress, *more: str) -> subprocess.CompletedProcess[str]:
    return backforth(
        hub, "train", "final", "--base", BASE, "--dataset", MIX, "--method", "lora", "--name", "both",
        "--set", "steps=2", "--set", "batch_size=2", "--set", "max_length=256", "--set", "lora_rank=2",
        "--set", "held_out=2", "--set", "keep_steps=[1]", "--set", "samples=1",
        "--set", "sample_tokens=4", *more,
    )  # fmt: skip
