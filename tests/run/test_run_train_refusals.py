"""What is wrong with a training from the command line ends as one line: the key, and the way out."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from model_support import MIX, base_folder, foreign_adapter, upload_mix, upload_table
from run_support import BASE, HubAddress, backforth, small_recipe


@pytest.fixture(scope="module")
def mix(hub: HubAddress) -> str:
    upload_mix(hub)
    return MIX


def refusal(hub: HubAddress, *arguments: str, **more: str) -> str:
    """Run a command that must be refused before it trains; return the one line."""
    done = backforth(hub, *arguments, **more)
    lines = done.stderr.splitlines()
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert errors[0] == lines[-1]
    assert "demo/" not in done.stdout or "v1" not in done.stdout
    return errors[0]


def train(hub: HubAddress, base: str, dataset: str, *more: str) -> str:
    return refusal(hub, "train", "final", "--base", base, "--dataset", dataset, *more)


def test_an_unknown_base_is_named(hub: HubAddress, mix: str) -> None:
    line = train(hub, "demo/none-1m@v1", mix)
    assert "--base: model demo/none-1m@v1: there is no such repo" in line
    assert "or the token cannot see it" in line


def test_an_unknown_dataset_or_revision_is_named(hub: HubAddress, mix: str) -> None:
    assert "--dataset: dataset demo/none@main: there is no such repo" in train(hub, BASE, "demo/none")
    assert f"--dataset: dataset {mix}@v9: there is no such revision" in train(hub, BASE, f"{mix}@v9")


def test_a_gated_model_without_access_says_where_to_ask(hub: HubAddress, mix: str) -> None:
    from huggingface_hub import HfApi

    from hub_tools.hub.server.accounts import Accounts

    stranger = Accounts(hub.store).add("stranger", "write")
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    for repo, kind in (("demo/gated-1m", "model"), ("demo/open-mix", "dataset")):
        api.create_repo(repo, repo_type=kind, private=False, exist_ok=True)
    api.upload_folder(repo_id="demo/gated-1m", folder_path=base_folder(hub))
    api.update_repo_settings("demo/gated-1m", gated="manual")
    line = refusal(
        hub, "train", "final", "--base", "demo/gated-1m", "--dataset", "demo/open-mix",
        "--namespace", "stranger", HF_TOKEN=stranger.token,
    )  # fmt: skip
    assert "--base: model demo/gated-1m: it is gated on" in line
    assert "ask for access on its page, then run again" in line


def test_a_dataset_without_the_columns_says_what_it_has_and_who_makes_them(hub: HubAddress) -> None:
    table = pa.table({"id": ["1"], "text": ["x"]})
    upload_table(hub, "demo/texts", table, pq)
    line = train(hub, BASE, "demo/texts")
    assert "--dataset: demo/texts@" in line
    assert "lacks the column 'source'; it has id, text" in line
    assert "train-final reads the rows that the stage mix publishes" in line


@pytest.mark.parametrize(
    ("renamed", "words"),
    [
        ({"chat_template.jinja": None}, "has no chat template; set chat_template"),
        ({"model.safetensors": "pytorch_model.bin"}, "has no weights in safetensors"),
        ({"tokenizer.json": None}, "has no tokenizer"),
    ],
    ids=["no template", "pickled", "no tokenizer"],
)
def test_a_base_that_lacks_what_a_training_needs_is_refused_before_it_is_downloaded(
    renamed: dict[str, str | None], words: str, hub: HubAddress, mix: str, tmp_path: Path
) -> None:
    from huggingface_hub import HfApi

    shutil.copytree(base_folder(hub), tmp_path / "base")
    for old, new in renamed.items():
        path = tmp_path / "base" / old
        _ = path.rename(path.with_name(new)) if new else path.unlink()
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    api.create_repo("demo/incomplete", private=True, exist_ok=True)
    api.upload_folder(repo_id="demo/incomplete", folder_path=tmp_path / "base", delete_patterns="*")
    line = train(hub, "demo/incomplete", mix)
    assert line.startswith("error: --base: demo/incomplete@")
    assert words in line


def test_a_recipe_whose_base_cannot_be_trained_stops_before_anything_runs(
    hub: HubAddress, tmp_path: Path
) -> None:
    from huggingface_hub import HfApi

    shutil.copytree(base_folder(hub), tmp_path / "base")
    (tmp_path / "base" / "chat_template.jinja").unlink()
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    api.create_repo("demo/untold", private=True, exist_ok=True)
    api.upload_folder(repo_id="demo/untold", folder_path=tmp_path / "base")
    recipe = small_recipe(tmp_path, hub, "early")
    recipe["stages"]["train-final"]["reads"] = {"base": "demo/untold"}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    for command in ("run", "plan"):
        line = refusal(hub, command, str(tmp_path / "recipe.yaml"))
        assert line.startswith("error: stages.train-final.reads.base: demo/untold@")
        assert "has no chat template; set chat_template" in line
    assert not api.repo_exists("demo/early-seed", repo_type="dataset")


def test_what_this_machine_cannot_run_is_refused_before_the_base_is_downloaded(
    hub: HubAddress, mix: str, tmp_path: Path
) -> None:
    float8 = ("--base", BASE, "--dataset", mix, "--method", "full", "--set", "float8=true")
    line = refusal(hub, "train", "final", *float8, HF_HOME=str(tmp_path))
    assert "float8 is on, which needs a GPU of compute capability 8.9" in line
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_max_length_beyond_the_bases_positions_is_refused(hub: HubAddress, mix: str) -> None:
    line = train(hub, BASE, mix, "--set", "max_length=8192")
    assert f"max_length is 8192, but {BASE} has positions for 4096 tokens; set max_length to 4096" in line


def test_rows_longer_than_the_context_are_counted_and_refused_past_the_threshold(hub: HubAddress) -> None:
    upload_mix(hub, "demo/long-mix", words=60)
    line = train(
        hub, BASE, "demo/long-mix", "--method", "lora", "--set", "max_length=64", "--set", "lora_rank=2"
    )
    assert "8 of 8 pairs (100%)" in line
    assert "raise max_length" in line


def test_an_adapter_is_no_base(hub: HubAddress, mix: str, tmp_path: Path) -> None:
    from huggingface_hub import HfApi

    foreign_adapter(base_folder(hub), tmp_path / "out", named=BASE)
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    api.create_repo("demo/bare-adapter-1m", private=True, exist_ok=True)
    api.upload_folder(
        repo_id="demo/bare-adapter-1m", folder_path=tmp_path / "out", allow_patterns=["adapter_*"]
    )
    assert f"is an adapter of {BASE}; name that" in train(hub, "demo/bare-adapter-1m", mix)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("max_seq_length=2048", "--set: max_seq_length is TRL's word; here it is max_length"),
        ("warmup_ratio=0.1", "warmup_ratio is TRL's word; here it is warmup"),
        ("bf16=true", "bf16 is TRL's word; here it is weights"),
        ("sequence_len=2048", "is no setting; `backforth stages` and a stage's name explain all"),
        (
            "learning_rte=1",
            "--set: learning_rte is no setting; did you mean learning_rate?",
        ),
        ("steps=[", "--set steps=[: the value is not YAML"),
    ],
)
def test_a_key_of_trls_or_a_mistyped_one_gets_its_name_here(
    setting: str, words: str, hub: HubAddress, mix: str
) -> None:
    assert words in train(hub, BASE, mix, "--set", setting)


def test_a_config_file_is_named_with_the_key(hub: HubAddress, mix: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("lora_r: 8\n")
    assert "mine.yaml: lora_r is TRL's word; here it is lora_rank" in train(
        hub, BASE, mix, "--config", str(path)
    )


def test_a_method_that_its_settings_are_not_for_is_refused(hub: HubAddress, mix: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("method: full\nmax_length: 8192\n")
    line = train(hub, BASE, mix, "--config", str(path), "--method", "qlora")
    assert f"--method is qlora, but {path} is for method full" in line
    assert "max_length is 8192" in train(hub, BASE, mix, "--config", str(path)), "the file's method does"


def test_a_checkpoint_that_cannot_be_published_is_refused(hub: HubAddress, tmp_path: Path) -> None:
    def publish(folder: Path, *more: str) -> str:
        return refusal(hub, "publish-model", str(folder), "--repo", "demo/bad-1m", "--base", BASE, *more)

    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    assert "holds pytorch_model.bin and no safetensors" in publish(tmp_path)
    adapter = foreign_adapter(base_folder(hub), tmp_path / "out", named="org/base")
    assert f"the adapter was trained on org/base, not on {BASE}" in publish(adapter)
    line = refusal(hub, "publish-model", str(adapter), "--repo", "alone", "--base", BASE)
    assert "--repo 'alone': write it as namespace/name" in line


def test_a_forecast_needs_a_gpu_that_is_known(hub: HubAddress, mix: str) -> None:
    line = train(hub, BASE, mix, "--forecast", "--gpu", "Voodoo 2")
    assert "--gpu: 'Voodoo 2' is no GPU that forecasts know; there are B200" in line


def test_forecast_and_export_stop_before_training_and_print_the_pinned_revision(
    hub: HubAddress, mix: str, tmp_path: Path
) -> None:
    folder = tmp_path / "trl"
    done = backforth(
        hub, "train", "final", "--base", BASE, "--dataset", mix, "--forecast", "--gpu", "H100",
        "--export-trl", str(folder), "--set", "batch_size=2", "--set", "max_length=256",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"base: {BASE}@main is {BASE}@" in done.stdout
    assert "GiB a GPU: weights" in done.stdout
    assert "as in a sample" in done.stdout
    assert (folder / "sft.yaml").exists()
    assert len((folder / "pairs" / "train.jsonl").read_text().splitlines()) == 8
    again = train(hub, BASE, mix, "--export-trl", str(folder))
    assert "it is there already; name a new or empty folder" in again


def test_plan_forecasts_the_trainings_that_would_run(hub: HubAddress, mix: str, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"namespace: demo\nname: planned\nhub: {{endpoint: {hub.endpoint}}}\nstages:\n"
        f"  train-final: {{reads: {{pairs: {mix}, base: {BASE}}}, max_length: 256}}\n"
        f"  again: {{stage: train-final, repo: again, reads: {{pairs: {mix}, base: train-final}}}}\n"
    )
    done = backforth(hub, "plan", str(recipe), "--gpu", "A100")
    assert done.returncode == 0, done.stderr
    assert " M parameters, qlora, on 1 A100" in done.stdout
    assert "stages.again: no forecast before train-final is published" in done.stdout
    without = backforth(hub, "plan", str(recipe), PATH="/nowhere")
    assert "Name a GPU, such as --gpu H100" in without.stdout
