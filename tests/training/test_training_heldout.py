from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.torch import load_file
from training_samples import make_pairs, quick
from transformers import AutoModelForCausalLM, AutoTokenizer

from training.encode import encode_pairs
from training.errors import TrainingError
from training.heldout import split
from training.publish import Base
from training.settings import TrainSettings
from training.sft import train
from training.views import Pair

IDS = st.lists(st.text(max_size=4), max_size=30)


def named(ids: list[str]) -> list[Pair]:
    return [Pair(id_, [], []) for id_ in ids]


@given(IDS, IDS, st.floats(0, 0.99) | st.integers(0, 10).map(float))
def test_a_split_loses_no_pair_and_parts_no_id(some: list[str], others: list[str], held_out: float):
    pairs = named(some + others)
    trained, kept = split(pairs, held_out)
    assert sorted(pair.id for pair in trained + kept) == sorted(some + others)
    assert not {pair.id for pair in trained} & {pair.id for pair in kept}
    if held_out >= 1:
        assert len({pair.id for pair in kept}) == min(int(held_out), len(set(some + others)))


def test_pairs_that_are_added_move_none_of_the_others():
    few, many = named([str(n) for n in range(200)]), named([str(n) for n in range(1000)])
    before, after = ({pair.id for pair in split(pairs, 0.1)[1]} for pairs in (few, many))
    assert before == {id_ for id_ in after if int(id_) < 200}
    assert 60 < len(after) < 140


def test_a_small_share_holds_out_one_pair_at_least():
    assert [len(part) for part in split(make_pairs(5), 0.001)] == [4, 1]
    assert split(make_pairs(5), 0)[1] == []


@pytest.fixture(scope="module")
def chosen(base: Base, tmp_path_factory: pytest.TempPathFactory):
    """A training whose held-out loss falls at first and rises in the end."""
    torch.set_num_threads(1)
    notes = []
    work = tmp_path_factory.mktemp("work")
    settings = overdone(samples=2, sample_tokens=6)
    return train(settings, contrary(), base, work, on_note=notes.append), notes, work


def contrary() -> list[Pair]:
    """Pairs of which the held-out ones have answers that nothing in the others speaks for."""
    pairs = make_pairs(12)
    kept = {pair.id for pair in split(pairs, 3)[1]}
    answer = [{"role": "assistant", "content": "two well up"}]
    return [Pair(pair.id, pair.prompt, answer) if pair.id in kept else pair for pair in pairs]


def overdone(**changes: object) -> TrainSettings:
    still = {"attention_dropout": 0.0, "scheduler": "constant_with_warmup", "learning_rate": 0.02}
    every = {"steps": 8, "held_out": 3, "keep_steps": [2, 4, 6], "eval_steps": 1, "save_steps": 3}
    return quick("full", **still | every | changes)


def test_the_step_of_the_lowest_held_out_loss_is_published(chosen, base: Base):
    trained, _, _ = chosen
    losses = dict(trained.held_out)
    assert list(losses) == list(range(1, 9))
    assert trained.chosen == min([2, 4, 6, 8], key=losses.__getitem__) != 8
    assert held_out_loss(trained.folder, base) == pytest.approx(losses[trained.chosen], abs=0.02)


def held_out_loss(folder: Path, base: Base) -> float:
    """Measure a published model as anybody would, from its folder."""
    tokenizer, model = AutoTokenizer.from_pretrained(base.path), AutoModelForCausalLM.from_pretrained(folder)
    losses = []
    for example in encode_pairs(tokenizer, split(contrary(), 3)[1], 128).examples:
        ids, labels = torch.tensor([example.input_ids]), torch.tensor([example.labels])
        with torch.inference_mode():
            losses.append(model.float()(input_ids=ids, labels=labels).loss.item())
    return sum(losses) / len(losses)


def test_held_out_pairs_are_counted_named_and_not_trained_on(chosen, base: Base, tmp_path: Path):
    trained, _, _ = chosen
    kept = [pair.id for pair in split(contrary(), 3)[1]]
    assert trained.dropped == [(id_, "held_out") for id_ in kept]
    assert trained.counts == {"pairs": 12, "dropped": 0, "truncated": 0, "held out": 3}
    rest = [pair for pair in contrary() if pair.id not in kept]
    alone = train(overdone(held_out=0, keep_steps=[]), rest, base, tmp_path)
    assert alone.losses == trained.losses  # nor do evaluations disturb the training


def test_every_evaluation_samples_the_same_held_out_prompts(chosen):
    trained, notes, _ = chosen
    kept = split(contrary(), 3)[1][:2]
    assert [(sample.step, sample.id) for sample in trained.samples] == [
        (step, pair.id) for step in range(1, 9) for pair in kept
    ]
    assert trained.samples[0].prompt == kept[0].prompt[0]["content"]
    assert trained.samples[0].reference == kept[0].completion[0]["content"]
    assert len({sample.answer for sample in trained.samples}) > 1
    assert notes[0] == f"step 1: held-out loss {trained.held_out[0][1]:.3f}"


def test_only_weights_are_kept_of_older_steps(chosen):
    _, _, work = chosen
    folders = {path.name: path for path in (work / "checkpoints").glob("checkpoint-*")}
    assert set(folders) == {f"checkpoint-{step}" for step in (2, 4, 6, 8)}
    assert not list(folders["checkpoint-2"].glob("optimizer*"))
    assert (folders["checkpoint-8"] / "optimizer.pt").exists()


def test_another_kept_step_is_published_without_training_again(chosen, base: Base):
    trained, _, work = chosen
    events = []
    again = train(overdone(samples=2, sample_tokens=6, publish_step=2), contrary(), base, work, events.append)
    assert events == []
    assert again.chosen == 2
    assert again.losses == trained.losses
    stored = load_file(work / "checkpoints" / "checkpoint-2" / "model.safetensors")
    published = load_file(again.folder / "model.safetensors")
    assert all(torch.equal(published[name], stored[name].bfloat16()) for name in published)


def test_damaged_weights_are_not_published(chosen, base: Base, tmp_path: Path):
    _, _, work = chosen
    shutil.copytree(work / "checkpoints", tmp_path / "checkpoints")
    path = tmp_path / "checkpoints" / "checkpoint-2" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    settings = overdone(samples=2, sample_tokens=6, publish_step=2)
    with pytest.raises(TrainingError, match=r"checkpoint-2/model\.safetensors is damaged; delete ") as caught:
        train(settings, contrary(), base, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_evaluations_leave_dropout_and_weights_as_they_were(base: Base, tmp_path: Path, method: str):
    rest = split(contrary(), 3)[0]
    alone = train(quick(method), rest, base, tmp_path / "alone")
    watched = train(
        quick(method, held_out=3, eval_steps=1, sample_tokens=2), contrary(), base, tmp_path / "watched"
    )
    assert watched.losses == alone.losses
    one, other = (load_file(done.folder / "adapter_model.safetensors") for done in (alone, watched))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_stopped_training_remembers_its_evaluations(base: Base, tmp_path: Path):
    def stop_at_five(event) -> None:
        if event.step == 5:
            raise KeyboardInterrupt

    settings = overdone(sample_tokens=2)
    with pytest.raises(KeyboardInterrupt):
        train(settings, contrary(), base, tmp_path / "stopped", stop_at_five)
    resumed = train(settings, contrary(), base, tmp_path / "stopped")
    calm = train(settings, contrary(), base, tmp_path / "calm")
    assert (resumed.held_out, resumed.samples, resumed.chosen) == (calm.held_out, calm.samples, calm.chosen)


def test_holding_out_everything_is_refused(base: Base, work: Path):
    with pytest.raises(TrainingError, match=r"no pairs to train on.*held_out \(now 12\)"):
        train(quick(held_out=12), contrary(), base, work)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"keep_steps": [900]}, "keep_steps names step 900; the training has steps 1 to 600"),
        ({"keep_steps": [300]}, "keep_steps needs held_out"),
        ({"publish_step": 300}, "publish_step 300 is not one of keep_steps"),
    ],
)
def test_steps_that_cannot_be_published_are_refused(change: dict[str, object], words: str):
    with pytest.raises(ValidationError, match=words):
        TrainSettings(**change)
