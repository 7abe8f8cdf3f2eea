from __future__ import annotations

from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from card_samples import dataset_facts, lineage
from datasets import Features, get_dataset_config_names, load_dataset

from dataset_cards.dataset import dataset_files
from dataset_cards.facts import Config

ROWS = [
    {
        "id": f"{at:016x}",
        "instruction": "What?",
        "score": 5 if at % 2 else None,
        "messages": [{"role": "user", "content": "What?"}],
        "generation": {"model": "demo/chat", "seed": at},
    }
    for at in range(7)
]


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the folder of a dataset repo: two shards, an empty rejected config, the card and its pictures."""
    folder = tmp_path_factory.mktemp("repo")
    sample = dataset_facts()
    configs = []
    for config, rows in zip(sample.configs, (ROWS, []), strict=True):
        features = Features._from_yaml_list([dict(item) for item in config.features])
        (folder / "data" / config.name).mkdir(parents=True)
        for at, half in enumerate([rows[:4], rows[4:]] if rows else [[]]):
            path = folder / "data" / config.name / f"train-{at:05d}.parquet"
            # A row group without rows makes `datasets` fail: an empty file must hold none.
            with pyarrow.parquet.ParquetWriter(path, features.arrow_schema) as writer:
                if half:
                    writer.write_table(pyarrow.Table.from_pylist(half, schema=features.arrow_schema))
        size = sum(path.stat().st_size for path in (folder / "data" / config.name).iterdir())
        configs.append(
            Config(
                name=config.name,
                description=config.description,
                rows=len(rows),
                bytes=size,
                features=features._to_yaml_list(),
                default=config.default,
            )
        )
    facts = dataset_facts(configs=configs, scores={5: 7}, lineage=lineage("curate>rewrite"))
    (folder / "pictures").mkdir()
    for path, content in dataset_files(facts).items():
        (folder / path).write_bytes(content)
    return folder


def test_the_default_config_loads_without_a_name(repo: Path, tmp_path: Path) -> None:
    found = load_dataset(str(repo), split="train", cache_dir=str(tmp_path))
    assert found.to_list() == ROWS


def test_the_empty_rejected_config_streams_with_its_columns(repo: Path, tmp_path: Path) -> None:
    found = load_dataset(str(repo), "rejected", split="train", streaming=True, cache_dir=str(tmp_path))
    assert found.column_names == ["id", "reason", "detail", "row"]
    assert list(found) == []


def test_the_card_says_how_to_open_a_config_without_rows(repo: Path) -> None:
    card = (repo / "README.md").read_text(encoding="utf-8")
    assert "`datasets` opens a config without rows only with `streaming=True`." in card
    assert '"rejected", split' not in card


def test_streaming_gives_the_same_rows(repo: Path, tmp_path: Path) -> None:
    assert list(load_dataset(str(repo), split="train", streaming=True, cache_dir=str(tmp_path))) == ROWS


def test_the_configs_are_those_of_the_card(repo: Path) -> None:
    assert get_dataset_config_names(str(repo)) == ["rewritten", "rejected"]


def test_a_wrong_row_count_in_the_card_is_noticed(repo: Path, tmp_path: Path) -> None:
    for name in ("rewritten", "rejected"):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / name).symlink_to(repo / "data" / name)
    card = (repo / "README.md").read_text(encoding="utf-8")
    (tmp_path / "README.md").write_text(card.replace("num_examples: 7", "num_examples: 8"), encoding="utf-8")
    with pytest.raises(Exception, match="8"):
        load_dataset(str(tmp_path), split="train", cache_dir=str(tmp_path / "cache"))
