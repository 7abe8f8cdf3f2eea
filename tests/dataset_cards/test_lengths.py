from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset_cards.lengths import Lengths, Summary, summary


@given(st.lists(st.integers(0, 5000), min_size=2, max_size=60))
def test_the_summary_is_that_of_the_standard_library(values: list[int]) -> None:
    found = summary(values)
    assert (found.n, found.max) == (len(values), max(values))
    assert found.mean == pytest.approx(statistics.fmean(values))
    assert found.median == pytest.approx(statistics.median(values))
    assert found.p90 == pytest.approx(statistics.quantiles(values, n=10, method="inclusive")[8])


@given(st.lists(st.lists(st.integers(0, 50), max_size=20), max_size=5))
def test_lengths_added_in_parts_are_summed_up_as_one(parts: list[list[int]]) -> None:
    lengths = Lengths()
    for part in parts:
        lengths.add(iter(part))
    assert lengths.summary() == summary(value for part in parts for value in part)


def test_no_lengths_have_an_empty_summary() -> None:
    assert summary([]) == Summary(n=0, mean=0.0, median=0.0, p90=0.0, max=0)


def test_one_length_is_its_own_summary() -> None:
    assert summary([7]) == Summary(n=1, mean=7.0, median=7.0, p90=7.0, max=7)


def test_memory_does_not_grow_with_the_rows() -> None:
    lengths = Lengths()
    lengths.add(row % 100 for row in range(200_000))
    assert len(lengths.counts) == 100
    assert lengths.summary().n == 200_000
