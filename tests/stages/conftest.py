from __future__ import annotations

from pathlib import Path

import pytest
from training_samples import make_tokenizer


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder that holds only a tokenizer, whose control tokens are <|start|>, <|end|> and <|pad|>."""
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer().save_pretrained(folder)
    return folder
