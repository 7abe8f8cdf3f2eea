"""The stages that read files: the demo's own, real ones where they are at hand, and broken ones."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stage_support import DEMO, RENDER, SHARED, FileInputs

from hub_tools.errors import DataError
from hub_tools.records import Rejected, Response, Seed
from hub_tools.stages.quality import Duplicates
from hub_tools.stages.responses import ResponsesConfig, responses
from hub_tools.stages.seed import SeedConfig, seed

needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the real files lie in ../shared/data, which is absent"
)


def run_seed(tmp_path: Path, path: Path, **settings: Any) -> list[Seed | Rejected]:
    task = seed(SeedConfig(source="x", **settings), RENDER)
    return list(task.rows(FileInputs(tmp_path, [path])))  # type: ignore[union-attr, arg-type]


def run_responses(tmp_path: Path, path: Path, model: Path, **settings: Any) -> list[Response | Rejected]:
    task = responses(ResponsesConfig(source="x", **settings), RENDER)
    return list(task.rows(FileInputs(tmp_path, [path], model)))  # type: ignore[union-attr, arg-type]


def reasons(rows: list[Any]) -> Counter[str]:
    return Counter(row.reason if isinstance(row, Rejected) else "kept" for row in rows)


def test_every_seed_tree_becomes_a_pair_or_a_reject(tmp_path: Path) -> None:
    rows = run_seed(tmp_path, DEMO / "seed_trees.jsonl")
    assert reasons(rows) == {"kept": 72, "language": 2, "no_ranked_reply": 3, "deleted": 1, "duplicate": 1}
    assert len({row.id for row in rows if isinstance(row, Seed)}) == 72


@needs_shared
def test_real_open_assistant_trees_give_their_best_replies(tmp_path: Path) -> None:
    rows = run_seed(tmp_path, SHARED / "oasst_en_100_tree.jsonl")
    kept = [row for row in rows if isinstance(row, Seed)]
    assert len(rows) == 100
    assert 90 <= len(kept) <= 99, "99 of the trees have a reply of rank 0; duplicates are rejected"
    assert all(row.rank == 0 and row.instruction and row.response for row in kept)


def test_the_first_pairs_are_kept_and_the_others_recorded(tmp_path: Path) -> None:
    found = reasons(run_seed(tmp_path, DEMO / "seed_trees.jsonl", max_pairs=5))
    assert found["kept"] == 5
    assert found["over_count"] == 67


def test_every_reject_reason_occurs_in_the_demo_corpus(tmp_path: Path, tokenizer_folder: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    # The demo's control tokens are SmolLM2's; this tokenizer spells them otherwise.
    text = (DEMO / "corpus.jsonl").read_text(encoding="utf-8")
    corpus.write_text(
        text.replace("<|im_start|>", "<|start|>").replace("<|im_end|>", "<|end|>"), encoding="utf-8"
    )
    found = reasons(run_responses(tmp_path, corpus, tokenizer_folder, max_tokens=4000))
    assert found == {
        "kept": 39,
        "language": 2,
        "too_short": 1,
        "too_long": 1,
        "control_tokens": 1,
        "boilerplate": 1,
        "duplicate": 1,
        "near_duplicate": 1,
    }


@needs_shared
@pytest.mark.parametrize(("name", "count"), [("dolma_cc_en_head-0091.jsonl.gz", 10), ("c4_150.jsonl", 150)])
def test_real_web_documents_go_through(tmp_path: Path, tokenizer_folder: Path, name: str, count: int) -> None:
    rows = run_responses(tmp_path, SHARED / name, tokenizer_folder, max_tokens=20000)
    kept = [row for row in rows if isinstance(row, Response)]
    assert len(rows) == count
    assert len(kept) >= 0.6 * count
    assert all(row.n_tokens > 0 for row in kept)
    assert all(row.url for row in kept) or name.startswith("c4"), "the C4 sample has texts alone"
    assert len({row.id for row in rows}) == count


def test_the_same_document_has_the_same_id_in_every_file(tmp_path: Path, tokenizer_folder: Path) -> None:
    document = {"id": "a", "source": "s", "text": "One two three four five six. " * 10}
    plain, packed = tmp_path / "a.jsonl", tmp_path / "a.jsonl.gz"
    plain.write_text(json.dumps(document) + "\n")
    with gzip.open(packed, "wt") as file:
        file.write("\n" + json.dumps(document) + "\n")
    first = run_responses(tmp_path, plain, tokenizer_folder)
    second = run_responses(tmp_path, packed, tokenizer_folder)
    assert [row.id for row in first] == [row.id for row in second]


@pytest.mark.parametrize("line", ["{", "[1]", "7", '"text"', "\ud800", "[" * 100_000])
def test_a_line_that_is_no_object_stops_or_is_kept_as_a_reject(
    tmp_path: Path, tokenizer_folder: Path, line: str
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(line.encode("utf-8", "surrogatepass") + b"\n")
    with pytest.raises(DataError, match=r"bad.jsonl:1 is .*stages.responses.bad_lines: reject"):
        run_responses(tmp_path, path, tokenizer_folder)
    (row,) = run_responses(tmp_path, path, tokenizer_folder, bad_lines="reject")
    assert isinstance(row, Rejected)
    assert row.reason == "bad_line"


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"text": None},
        {"text": 7, "metadata": []},
        {"text": "a", "metadata": {"language": ["en"]}, "id": {"a": 1}},
        {"text": "{{ 7 * 7 }} --- <script>" * 20, "source": None, "url": 3},
    ],
)
def test_a_strange_document_becomes_a_row_or_a_reject(
    tmp_path: Path, tokenizer_folder: Path, document: dict[str, Any]
) -> None:
    path = tmp_path / "strange.jsonl"
    path.write_text(json.dumps(document) + "\n")
    assert len(run_responses(tmp_path, path, tokenizer_folder)) == 1


def test_a_torn_gzip_file_is_named(tmp_path: Path, tokenizer_folder: Path) -> None:
    path = tmp_path / "torn.jsonl.gz"
    whole = gzip.compress(json.dumps({"text": "word " * 5000}).encode() + b"\n")
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"torn\.jsonl\.gz cannot be read to its end"):
        run_responses(tmp_path, path, tokenizer_folder)


@given(st.lists(st.sampled_from(["tea", "milk", "bread", "salt", "oats"]), min_size=30, max_size=60))
def test_a_copy_is_found_whatever_its_case_and_punctuation(words: list[str]) -> None:
    duplicates = Duplicates(0.7)
    assert duplicates.check(" ".join(words)) is None
    again = duplicates.check(", ".join(words).upper() + "!")
    assert again is not None
    assert again.reason == "duplicate"


def test_different_documents_are_no_copies() -> None:
    duplicates = Duplicates(0.7)
    assert duplicates.check(" ".join(f"first{n}" for n in range(100))) is None
    assert duplicates.check(" ".join(f"second{n}" for n in range(100))) is None
