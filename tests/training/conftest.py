from __future__ import annotations

import os
from pathlib import Path

import pytest
from training_samples import SHA, make_model, make_pairs, make_tokenizer

from training.publish import Base
from training.views import Pair

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


@pytest.fixture(autouse=True)
def one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """A Llama of two layers in bfloat16 with its own byte-level BPE and chat template."""
    path = tmp_path_factory.mktemp("hub") / "tiny"
    make_tokenizer().save_pretrained(path)
    make_model().save_pretrained(path)
    return Base(path, "demo/tiny-llama", SHA)


@pytest.fixture
def pairs() -> list[Pair]:
    return make_pairs(12)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"
