"""Checkpoints as other programs leave them, and a small mix on the tests' Hub."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from run_support import BASE, HubAddress

MIX = "demo/small-mix"


def upload_mix(hub: HubAddress, repo: str = MIX, rows: int = 8, words: int = 4) -> str:
    """Publish rows of a mix as a plain dataset; return its commit."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from hub_tools.columns import arrow_schema, to_columns
    from hub_tools.records import Mixed

    made = [
        Mixed(
            id=f"{number:016x}",
            source="made-up",
            url=None,
            license="cc0-1.0",
            prompt=[{"role": "user", "content": f"Count up to {number} " + "and on " * words}],
            completion=[{"role": "assistant", "content": "one two three done"}],
            tag="",
            source_node="seed",
        )
        for number in range(rows)
    ]
    table = pa.Table.from_pylist([to_columns(row) for row in made], schema=arrow_schema(Mixed))
    return upload_table(hub, repo, table, pq)


def upload_table(hub: HubAddress, repo: str, table, pq) -> str:
    from huggingface_hub import HfApi

    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    api.create_repo(repo, repo_type="dataset", private=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(table, Path(folder) / "rows.parquet")
        done = api.upload_file(
            repo_id=repo,
            repo_type="dataset",
            path_or_fileobj=Path(folder) / "rows.parquet",
            path_in_repo="data/mix/rows.parquet",
        )
    return str(done.oid)


def base_folder(hub: HubAddress) -> Path:
    """Download the tests' base."""
    from huggingface_hub import HfApi

    return Path(HfApi(endpoint=hub.endpoint, token=hub.token).snapshot_download(BASE))


def foreign_adapter(base: Path, folder: Path, named: str | None = None) -> Path:
    """Write an adapter as PEFT and transformers' Trainer leave it: local paths, pickles and all."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base),
        LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", init_lora_weights=False),
    )
    model.save_pretrained(folder)
    beside_a_checkpoint(folder)
    if named is not None:
        path = folder / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": named}))
    return folder


def foreign_model(base: Path, folder: Path) -> Path:
    """Write a whole model as transformers' Trainer leaves it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(base)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.01)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"_name_or_path": str(base)}))
    beside_a_checkpoint(folder)
    return folder


def beside_a_checkpoint(folder: Path) -> None:
    """Write what lies beside a checkpoint and must not be published."""
    (folder / "training_args.bin").write_bytes(b"pickled" + str(folder).encode())
    (folder / "checkpoint-1").mkdir()
    (folder / "checkpoint-1" / "optimizer.pt").write_bytes(b"pickled")
    log = [{"step": 1, "loss": 3.5, "epoch": 0.1}, {"step": 2, "loss": 2.5}, {"train_runtime": 1.0}]
    (folder / "trainer_state.json").write_text(
        json.dumps({"log_history": log, "best_model_checkpoint": str(folder / "checkpoint-1")})
    )
