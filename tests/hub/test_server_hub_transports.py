"""The official clients, unmodified, in processes that are told only the address and the token."""

import hashlib
import os
import textwrap

import pytest

DATASET = textwrap.dedent("""
    import json, os, random
    import datasets
    from datasets import Dataset, load_dataset
    from huggingface_hub import DatasetCard, HfApi, HfFileSystem, constants, snapshot_download

    datasets.disable_progress_bars()
    repo, api = os.environ["REPO"], HfApi()
    for version in (1, 2):
        texts = [random.Random(i).randbytes(40).hex() for i in range(1000)]
        rows = [{"id": i, "text": text, "version": version} for i, text in enumerate(texts)]
        Dataset.from_list(rows).push_to_hub(repo, "kept", private=True)
        Dataset.from_list(rows[:3]).push_to_hub(repo, "rejected")
        api.create_tag(repo, tag=f"v{version}", repo_type="dataset")

    card = DatasetCard.load(repo)
    card.data.license = "mit"
    card.text += "words of a person"
    card.push_to_hub(repo, repo_type="dataset")

    def first(**how):
        return next(iter(load_dataset(repo, "kept", split="train", **how)))["version"]

    folder = snapshot_download(repo, repo_type="dataset", revision="v1")
    files = HfFileSystem()
    parquet = files.glob(f"datasets/{repo}@v2/kept/*.parquet")
    with files.open(parquet[0], "rb", block_size=100) as opened:
        opened.seek(-4, 2)
        end = opened.read()
    print(json.dumps({
        "v1": first(revision="v1"), "v2": first(revision="v2"), "main": first(),
        "streamed": first(revision="v1", streaming=True),
        "rows": load_dataset(repo, "kept", split="train", revision="v1").num_rows,
        "rejected": load_dataset(repo, "rejected", split="train", revision="v2").num_rows,
        "license": api.dataset_info(repo).card_data.license,
        "card": "words of a person" in DatasetCard.load(repo).text,
        "snapshot": sorted(os.listdir(folder)),
        "end": end.decode(),
    }))
""")

BINARY = textwrap.dedent("""
    import hashlib, json, os
    from huggingface_hub import HfApi, hf_hub_download

    api, repo = HfApi(), os.environ["REPO"]
    data = bytearray(os.urandom(3_000_000) + b"\\0" * 3_000_000 + b"a little text " * 200_000)
    sums = []
    for _ in range(2):
        api.upload_file(path_or_fileobj=bytes(data), path_in_repo="w.safetensors", repo_id=repo)
        path = hf_hub_download(repo, "w.safetensors")
        sums.append([hashlib.sha256(data).hexdigest(), hashlib.sha256(open(path, "rb").read()).hexdigest()])
        data[4_000_000:4_000_000] = b"an edit in the middle"
    print(json.dumps(sums))
""")

MODEL = textwrap.dedent("""
    import json, os
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
    from huggingface_hub import HfApi, ModelCard

    repo = os.environ["REPO"]
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2))
    model.push_to_hub(repo)
    HfApi().create_tag(repo, tag="v1")
    with torch.no_grad():
        model.lm_head.weight += 1
    model.push_to_hub(repo)
    ModelCard("---\\nlicense: mit\\npipeline_tag: text-generation\\n---\\n# Tiny\\n").push_to_hub(repo)
    first = AutoModelForCausalLM.from_pretrained(repo, revision="v1").lm_head.weight
    last = AutoModelForCausalLM.from_pretrained(repo).lm_head.weight
    print(json.dumps({
        "step": (last - first).mean().item(),
        "pipeline": HfApi().model_info(repo).pipeline_tag,
        "layers": AutoConfig.from_pretrained(repo, revision="v1").num_hidden_layers,
    }))
""")

TRANSPORTS = pytest.mark.parametrize(
    "transport", [{}, {"HF_HUB_DISABLE_XET": "1"}], ids=["xet", "lfs"], scope="module"
)


@TRANSPORTS
def test_dataset_is_pushed_tagged_loaded_and_streamed(hub, tmp_path, transport):
    repo = f"demo/round-trip-{len(transport)}"
    result = hub.client(DATASET, tmp_path, REPO=repo, **transport)
    assert result == {
        "v1": 1,
        "v2": 2,
        "main": 2,
        "streamed": 1,
        "rows": 1000,
        "rejected": 3,
        "license": "mit",
        "card": True,
        "snapshot": [".gitattributes", "README.md", "kept", "rejected"],
        "end": "PAR1",
    }


@TRANSPORTS
def test_binary_file_arrives_whole_also_after_an_edit(hub, repo, tmp_path, transport):
    before = set((hub.store / "xorbs").rglob("*"))
    sums = hub.client(BINARY, tmp_path, REPO=repo, **transport)
    went_through_xet = set((hub.store / "xorbs").rglob("*")) != before
    assert went_through_xet == (not transport)
    assert [sent for sent, _ in sums] == [received for _, received in sums]
    assert sums[0] != sums[1]


def test_model_is_loaded_at_its_tag(hub, repo, tmp_path):
    result = hub.client(MODEL, tmp_path, REPO=repo, CUDA_VISIBLE_DEVICES="")
    assert result["step"] == pytest.approx(1, abs=1e-5)
    assert (result["pipeline"], result["layers"]) == ("text-generation", 1)


def test_wiped_store_on_the_same_port_takes_the_same_file_again(tmp_path):
    from hub_support import start_hub

    home, data = tmp_path / "home", os.urandom(200_000)
    script = textwrap.dedent("""
        import json, os
        from huggingface_hub import HfApi
        api = HfApi()
        api.create_repo("demo/again")
        api.upload_file(path_or_fileobj=os.environ["FILE"], path_in_repo="w.bin", repo_id="demo/again")
        print(json.dumps(api.get_paths_info("demo/again", ["w.bin"])[0].lfs.sha256))
    """)
    (tmp_path / "w.bin").write_bytes(data)
    port = 0
    for name in ("first", "second"):
        hub = start_hub(tmp_path / name, port=port)
        port = hub.port
        try:
            found = hub.client(script, home, FILE=str(tmp_path / "w.bin"))
        finally:
            hub.stop()
        assert found == hashlib.sha256(data).hexdigest()
