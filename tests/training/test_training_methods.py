from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForCausalLM
from safetensors.torch import load_file, save_file
from training_samples import SHA, TEMPLATE, make_pairs, quick
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from training.errors import TrainingError
from training.publish import Base
from training.sft import train
from training.views import Pair

CASES = {
    "full": quick("full"),
    "lora": quick("lora"),
    "qlora": quick("qlora"),
    "lora merged": quick("lora", merge=True),
    "qlora merged, packed": quick("qlora", merge=True, packing=True),
    "full, packed": quick("full", packing=True),
}
WEIGHTS = {"full": "model.safetensors", "adapter": "adapter_model.safetensors", "merged": "model.safetensors"}


@pytest.fixture(scope="module", params=CASES)
def finished(request, base: Base, tmp_path_factory):
    """Every way of training, once each."""
    torch.set_num_threads(1)
    events = []
    work = tmp_path_factory.mktemp("work")
    return train(CASES[request.param], make_pairs(12), base, work, events.append), events, work


def test_the_loss_falls_and_every_step_is_told(finished):
    trained, events, _ = finished
    assert [step for step, _ in trained.losses] == [1, 2, 3, 4]
    assert [(event.step, event.loss) for event in events] == trained.losses
    assert all(event.total == 4 and event.tokens_per_second > 0 for event in events)
    assert trained.losses[-1][1] < trained.losses[0][1] - 0.05
    assert trained.losses[0][1] == pytest.approx(math.log(400), abs=0.5)


def test_the_result_describes_itself(finished):
    trained, _, _ = finished
    assert trained.counts == {"pairs": 12, "dropped": 0, "truncated": 0}
    assert trained.steps == 4
    assert trained.tokens > 4 * 4 * 10
    assert trained.seconds > 0
    assert trained.settings["micro_batch"] in (1, 2)
    assert trained.versions["trl"]
    whole = trained.parameters["trained"] == trained.parameters["all"]
    assert whole == (trained.method == "full")
    assert trained.parameters["trained"] > 0


def test_the_folder_holds_what_is_published_and_nothing_else(finished):
    trained, _, _ = finished
    names = {path.name for path in trained.folder.rglob("*")}
    config = {"adapter_config.json"} if trained.kind == "adapter" else {"config.json"}
    tokenizer = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    assert names == tokenizer | config | {WEIGHTS[trained.kind], "generation_config.json"}


def test_no_file_names_a_local_path(finished, base: Base):
    trained, _, work = finished
    for path in trained.folder.rglob("*"):
        content = path.read_bytes()
        for local in (base.path, base.path.parent, work, Path.home()):
            assert str(local).encode() not in content, path.name


def test_the_tokenizer_is_the_bases_own(finished, base: Base):
    trained, _, _ = finished
    ours, theirs = (AutoTokenizer.from_pretrained(path) for path in (trained.folder, base.path))
    assert ours.model_max_length == theirs.model_max_length == 256
    assert ours.chat_template == TEMPLATE
    text = "Count up to 7, slowly"
    assert ours(text).input_ids == theirs(text).input_ids


def test_the_published_model_loads_and_has_learnt(finished, base: Base):
    trained, _, _ = finished
    assert loss_of(load(trained, base)) < loss_of(AutoModelForCausalLM.from_pretrained(base.path)) - 0.05


def test_whole_models_keep_the_bases_dtype_and_config(finished, base: Base):
    trained, _, _ = finished
    if trained.kind == "adapter":
        config = json.loads((trained.folder / "adapter_config.json").read_text())
        assert (config["base_model_name_or_path"], config["revision"]) == ("demo/tiny-llama", SHA)
        assert config["target_modules"] == sorted(config["target_modules"])
    else:
        config = AutoConfig.from_pretrained(trained.folder)
        assert config.attention_dropout == 0.0
        assert config.to_dict() == AutoConfig.from_pretrained(base.path).to_dict() | {
            "_name_or_path": str(trained.folder)
        }
        assert {tensor.dtype for tensor in load_file(trained.folder / "model.safetensors").values()} == {
            torch.bfloat16
        }


def load(trained, base: Base):
    if trained.kind != "adapter":
        return AutoModelForCausalLM.from_pretrained(trained.folder)
    model = AutoModelForCausalLM.from_pretrained(base.path)
    from peft import PeftModel

    return PeftModel.from_pretrained(model, trained.folder)


def loss_of(model) -> float:
    from training.encode import encode_pairs

    tokenizer = AutoTokenizer.from_pretrained(model.config._name_or_path)
    losses = []
    for example in encode_pairs(tokenizer, make_pairs(6), 128).examples:
        ids, labels = torch.tensor([example.input_ids]), torch.tensor([example.labels])
        with torch.inference_mode():
            losses.append(model(input_ids=ids, labels=labels).loss.item())
    return sum(losses) / len(losses)


def test_an_adapter_folder_finds_its_base_by_itself(base: Base, work: Path, monkeypatch: pytest.MonkeyPatch):
    trained = train(quick("lora", steps=1), make_pairs(4), Base(base.path, str(base.path), SHA), work)
    model = AutoPeftModelForCausalLM.from_pretrained(trained.folder)
    assert model.peft_config["default"].r == 4


def test_a_merged_model_computes_what_base_and_adapter_compute(base: Base, tmp_path: Path):
    both = [
        train(quick("lora", merge=merge), make_pairs(8), base, tmp_path / str(merge))
        for merge in (True, False)
    ]
    ids = torch.arange(3, 60)[None]
    with torch.inference_mode():
        merged, adapter = (load(trained, base).float()(ids).logits for trained in both)
        plain = AutoModelForCausalLM.from_pretrained(base.path).float()(ids).logits
    assert (merged - adapter).abs().mean() < 0.05 * (plain - adapter).abs().mean()


def test_qlora_keeps_its_adapters_in_float32_where_small_updates_arrive(base: Base, tmp_path: Path):
    trained = train(quick("qlora", steps=2, learning_rate=1e-6), make_pairs(8), base, tmp_path / "a")
    tensors = load_file(trained.folder / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    other = train(quick("qlora", steps=1, learning_rate=1e-6), make_pairs(8), base, tmp_path / "b")
    before = load_file(other.folder / "adapter_model.safetensors")
    moved = [(tensors[name] != before[name]).float().mean().item() for name in tensors if "lora_A" in name]
    assert min(moved) > 0.9


def test_packed_and_unpacked_trainings_compute_the_same(base: Base, tmp_path: Path, pairs: list[Pair]):
    still = {"attention_dropout": 0.0, "lora_dropout": 0.0}
    one, other = (
        train(quick("lora", packing=packing, **still), pairs, base, tmp_path / str(packing))
        for packing in (True, False)
    )
    for (_, packed), (_, plain) in zip(one.losses, other.losses, strict=True):
        assert packed == pytest.approx(plain, rel=1e-4)
    assert one.tokens == other.tokens


def test_another_chat_template_is_trained_and_published(base: Base, work: Path, pairs: list[Pair]):
    template = TEMPLATE.replace("<|start|>", "<|start|>the ")
    trained = train(quick("lora", steps=1, chat_template=template), pairs, base, work)
    assert AutoTokenizer.from_pretrained(trained.folder).chat_template == template


def test_dropped_and_cut_pairs_are_counted_and_named(base: Base, work: Path, pairs: list[Pair]):
    long_prompt = Pair("no-room", [{"role": "user", "content": "very " * 200}], pairs[0].completion)
    long_answer = Pair("cut", pairs[0].prompt, [{"role": "assistant", "content": "very " * 200}])
    trained = train(quick(steps=1), [*pairs, long_prompt, long_answer], base, work)
    assert trained.counts == {"pairs": 14, "dropped": 1, "truncated": 1}
    assert trained.dropped == [("no-room", "prompt_too_long")]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda pairs: ([], {}), ["no pairs"]),
        (
            lambda pairs: (pairs, {"max_length": 16}),
            ["12 of 12 pairs", "raise max_length", "max_dropped_share"],
        ),
        (lambda pairs: (pairs, {"lora_targets": ["q_project"]}), ["q_project", "lora_targets"]),
        (lambda pairs: (pairs, {"lora_targets": ["lm_head"]}), ["lm_head"]),
    ],
    ids=["empty", "too long", "no such module", "head"],
)
def test_a_training_that_cannot_start_says_why_in_one_line(base: Base, work: Path, pairs, make, words):
    chosen, changes = make(pairs)
    with pytest.raises(TrainingError) as caught:
        train(quick(**changes), chosen, base, work)
    assert all(word in str(caught.value) for word in words)
    assert "\n" not in str(caught.value)


def test_a_lost_loss_stops_the_run_and_names_the_pairs(base: Base, work: Path, pairs: list[Pair]):
    broken = broken_base(base, work)
    with pytest.raises(
        TrainingError, match=r"the loss is (nan|inf) at step 1; lower learning_rate.*pair0"
    ) as caught:
        train(quick("full"), pairs, broken, work)
    assert "\n" not in str(caught.value)
    assert not (work / "model").exists()
    assert not list((work / "checkpoints").glob("checkpoint-*"))


def broken_base(base: Base, work: Path) -> Base:
    path = work.parent / "broken"
    shutil.copytree(base.path, path)
    tensors = load_file(path / "model.safetensors")
    tensors["model.norm.weight"][0] = float("nan")
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    return Base(path, base.repo, base.sha)


def test_a_base_that_lacks_weights_is_refused(base: Base, work: Path, pairs: list[Pair], tmp_path: Path):
    path = tmp_path / "torn"
    shutil.copytree(base.path, path)
    tensors = load_file(path / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TrainingError, match=r"lacks model\.norm\.weight, 1 tensors in all"):
        train(quick(), pairs, Base(path, base.repo, base.sha), work)


@pytest.mark.parametrize("size", [0, 5000])
def test_a_base_whose_weights_are_cut_off_is_told_in_one_line(
    base: Base, work: Path, pairs: list[Pair], tmp_path: Path, size: int
):
    path = tmp_path / "cut"
    shutil.copytree(base.path, path)
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:size])
    with pytest.raises(TrainingError, match="weights are damaged or cut off") as caught:
        train(quick(), pairs, Base(path, base.repo, base.sha), work)
    assert "\n" not in str(caught.value)


def test_a_missing_base_is_told_in_one_line(work: Path, pairs: list[Pair], tmp_path: Path):
    with pytest.raises(TrainingError) as caught:
        train(quick(), pairs, Base(tmp_path / "nowhere", "demo/none", SHA), work)
    assert "\n" not in str(caught.value)
