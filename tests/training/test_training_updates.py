"""Updates smaller than half a bfloat16 step, as most are at a learning rate of 1e-5: they must arrive too."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from training_samples import make_pairs, quick

from training import needs, trainer
from training.chance import RoundAlike
from training.errors import TrainingError
from training.publish import Base
from training.sft import train

SMALL = {"learning_rate": 1e-5, "steps": 10, "scheduler": "constant_with_warmup", "weight_decay": 0.0}
STILL = {"attention_dropout": 0.0}


def moved(base: Base, work: Path, weights: str) -> torch.Tensor:
    """Train and return by how much each weight changed, as the last checkpoint holds it."""
    train(quick("full", weights=weights, **SMALL, **STILL), make_pairs(12), base, work)
    before = load_file(base.path / "model.safetensors")
    after = load_file(work / "checkpoints" / "checkpoint-10" / "model.safetensors")
    return torch.cat([(after[name].float() - before[name].float()).flatten() for name in before])


def share(change: torch.Tensor, of: torch.Tensor) -> float:
    """Return how much of a change another one makes, along its direction."""
    return (change @ of / (of @ of)).item()


@pytest.fixture(scope="module")
def exact(base: Base, tmp_path_factory: pytest.TempPathFactory) -> torch.Tensor:
    torch.set_num_threads(1)
    return moved(base, tmp_path_factory.mktemp("float32"), "float32")


def test_bfloat16_weights_move_as_float32_weights_do(exact: torch.Tensor, base: Base, tmp_path: Path):
    assert share(moved(base, tmp_path / "bfloat16", "bfloat16"), exact) == pytest.approx(1, abs=0.1)


def test_without_stochastic_rounding_most_of_the_updates_would_be_lost(
    exact: torch.Tensor, base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(trainer, "_optimizer", lambda settings: {"optim": "adamw_torch_fused"})
    assert share(moved(base, tmp_path / "nearest", "bfloat16"), exact) < 0.5


def test_a_stopped_bfloat16_training_goes_on_as_if_undisturbed(base: Base, tmp_path: Path):
    def stop_at_five(event) -> None:
        if event.step == 5:
            raise KeyboardInterrupt

    settings = quick("full", weights="bfloat16", steps=6, save_steps=2, attention_dropout=0.2)
    with pytest.raises(KeyboardInterrupt):
        train(settings, make_pairs(12), base, tmp_path / "stopped", stop_at_five)
    resumed = train(settings, make_pairs(12), base, tmp_path / "stopped")
    calm = train(settings, make_pairs(12), base, tmp_path / "calm")
    assert resumed.losses == calm.losses
    one, other = (load_file(trained.folder / "model.safetensors") for trained in (resumed, calm))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_bfloat16_weights_without_their_optimizer_are_refused(
    base: Base, work: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(needs, "installed", lambda package: False)
    with pytest.raises(
        TrainingError, match="weights is bfloat16, which needs a package: pip install torchao"
    ):
        train(quick("full", weights="bfloat16"), make_pairs(12), base, work)


def test_processes_round_alike_however_much_their_dropout_has_drawn():
    rounded = []
    for drawn in (3, 1000):
        torch.manual_seed(0)
        torch.rand(drawn)
        rounding, step = RoundAlike(), (SimpleNamespace(seed=7), SimpleNamespace(global_step=5), None)
        expected = torch.get_rng_state()
        rounding.on_pre_optimizer_step(*step)
        rounded.append(torch.rand(4))
        rounding.on_optimizer_step(*step)
        assert torch.equal(torch.get_rng_state(), expected)
    assert torch.equal(*rounded)


def test_weights_that_are_rounded_do_not_follow_dropout(base: Base, tmp_path: Path):
    drawn: list[int] = []

    def draw(event: object) -> None:
        torch.rand(drawn[-1])

    settings = quick("full", weights="bfloat16", **STILL)
    trained = []
    for count in (1, 1000):
        drawn.append(count)
        trained.append(train(settings, make_pairs(12), base, tmp_path / str(count), draw))
    one, other = (load_file(done.folder / "model.safetensors") for done in trained)
    assert all(torch.equal(one[name], other[name]) for name in one)
