"""Rows and tensors are compared by what they hold, and the first difference is shown."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from hub_tools.run.replay.compare_files import ModelFile, compare_file
from hub_tools.run.replay.compare_rows import Rows, compare_rows

SCHEMA = pa.schema(
    [("id", pa.string()), ("score", pa.float64()), ("made", pa.struct([("by", pa.list_(pa.string()))]))]
)
VALUES = st.tuples(
    st.sampled_from("abc"),
    st.sampled_from([0.0, -0.0, 1.5, math.nan, None]),
    st.lists(st.sampled_from(["x", "y\u202e\x1b"]), max_size=2),
)
ROW = VALUES.map(lambda values: {"id": values[0], "score": values[1], "made": {"by": values[2]}})


def row(number: int, score: float = 0.0, *by: str) -> dict[str, Any]:
    return {"id": f"row-{number}", "score": score, "made": {"by": list(by)}}


def compared(folder: Path, published: list[dict[str, Any]], replayed: list[dict[str, Any]]) -> Rows:
    """Compare two lists of rows; the replayed ones lie in two shards, so that no bytes are the same."""
    half = len(replayed) // 2
    files = {"old": published, "new-0": replayed[:half], "new-1": replayed[half:]}
    for name, content in files.items():
        pq.write_table(pa.Table.from_pylist(content, schema=SCHEMA), folder / name)
    new = {name: folder / name for name in ("new-0", "new-1")}
    return compare_rows("pairs", {"old": folder / "old"}, new, {})


@settings(max_examples=100, deadline=None)
@given(st.lists(ROW, max_size=6), st.lists(ROW, max_size=6))
def test_every_row_is_counted_once(published: list[dict[str, Any]], replayed: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = compared(Path(folder), published, replayed)
    assert not found.problem
    assert found.equal + found.different + found.only_published == len(published)
    assert found.equal + found.different + found.only_replayed == len(replayed)
    assert min(found.equal, found.different, found.only_published, found.only_replayed) >= 0
    assert found.identical == (repr(published) == repr(replayed))
    if found.first:
        assert "\x1b" not in found.first.published + found.first.replayed


def test_a_number_that_differs_is_shown_with_how_far_it_is_off(tmp_path: Path) -> None:
    found = compared(
        tmp_path, [row(0), row(1, 2.5), row(2, 3.0)], [row(0), row(1, 2.5 + 1e-7), row(2, 3.0 - 2e-7)]
    )
    assert (found.equal, found.different) == (1, 2)
    assert found.first
    assert (found.first.row, found.first.id, found.first.column) == (1, "row-1", "score")
    assert found.columns["score"].rows == 2
    assert found.columns["score"].largest == pytest.approx(2e-7)


def test_a_difference_deep_in_a_long_value_is_cut_out_and_made_safe(tmp_path: Path) -> None:
    text = "word " * 500
    found = compared(tmp_path, [row(0, 0.0, "a", text + "\x1b[2J")], [row(0, 0.0, "a", text + "\u202eend")])
    assert found.first
    assert found.first.column == "made.by[1]"
    assert len(found.first.published) < 120
    assert "[2J" in found.first.published
    assert "end" in found.first.replayed
    assert "\x1b" not in found.first.published
    assert "\u202e" not in found.first.replayed
    assert found.columns["made"].largest is None


def test_rows_past_the_end_are_the_first_difference(tmp_path: Path) -> None:
    found = compared(tmp_path, [row(0)], [row(0), row(1)])
    assert (found.equal, found.only_published, found.only_replayed) == (1, 0, 1)
    assert found.first
    assert (found.first.row, found.first.published) == (1, "(absent)")


def test_a_config_that_only_one_side_has_is_a_difference(tmp_path: Path) -> None:
    path = tmp_path / "shard.parquet"
    pq.write_table(pa.Table.from_pylist([row(0)], schema=SCHEMA), path)
    assert "in the replay" in compare_rows("more", {"a": path}, {}, {}).problem
    assert "on the Hub" in compare_rows("more", {}, {"a": path}, {}).problem
    assert compare_rows("more", {"a": path}, {"a": path}, {}).identical


def weights(folder: Path, old: dict[str, torch.Tensor], new: dict[str, torch.Tensor]) -> ModelFile:
    """Compare two sets of tensors; their headers always differ."""
    save_file(old, folder / "old.safetensors", {"format": "pt"})
    save_file(new, folder / "new.safetensors", {"format": "pt", "other": "header"})
    return compare_file(
        "model.safetensors", folder / "old.safetensors", folder / "new.safetensors", "no such digest"
    )


def test_tensors_are_compared_number_by_number(tmp_path: Path) -> None:
    old = {"a": torch.zeros(3), "b": torch.tensor(1.0, dtype=torch.bfloat16), "c": torch.ones(0)}
    found = weights(tmp_path, old, {**old, "b": torch.tensor(1.5, dtype=torch.bfloat16)})
    assert (found.tensors, found.first, found.largest) == (1, "b", 0.5)
    assert not found.identical


def test_the_same_tensors_in_another_file_say_so(tmp_path: Path) -> None:
    old = {"a": torch.tensor([1.0, math.nan])}
    found = weights(tmp_path, old, {"a": old["a"].clone()})
    assert found.problem == "its header differs; all tensors are the same"


@pytest.mark.parametrize(
    "new",
    [
        {"a": torch.zeros(4)},
        {"a": torch.zeros(3, dtype=torch.float16)},
        {"b": torch.zeros(3)},
        {"a": torch.full((3,), math.nan)},
        {"a": torch.full((3,), math.inf)},
    ],
)
def test_tensors_of_another_shape_type_or_name_have_no_distance(
    tmp_path: Path, new: dict[str, torch.Tensor]
) -> None:
    found = weights(tmp_path, {"a": torch.zeros(3)}, new)
    assert found.first == "a"
    assert found.largest is None


def test_broken_weights_are_a_difference_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "old.safetensors").write_bytes(b"\xff" * 50)
    save_file({"a": torch.zeros(3)}, tmp_path / "new.safetensors")
    found = compare_file(
        "model.safetensors", tmp_path / "old.safetensors", tmp_path / "new.safetensors", None
    )
    assert "cannot be read" in found.problem
