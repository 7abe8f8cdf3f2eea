from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from training.layout import lay_out
from training.settings import TrainSettings

LENGTHS = st.lists(st.integers(2, 64), min_size=1, max_size=40)


def settings(**changes: object) -> TrainSettings:
    return TrainSettings(**{"max_length": 64, "batch_size": 8, "steps": 5, "seed": 3} | changes).resolve(
        "cpu"
    )


@given(LENGTHS, st.integers(1, 12), st.booleans())
def test_every_step_has_exactly_batch_size_pairs(lengths: list[int], batch_size: int, packing: bool):
    layout = lay_out(lengths, settings(batch_size=batch_size, packing=packing))
    assert [len(layout.pairs(step)) for step in range(1, 6)] == [batch_size] * 5
    assert {len(step) for step in layout.steps} == {layout.accumulation}


@given(LENGTHS, st.integers(1, 3))
def test_no_pack_is_empty_or_over_capacity(lengths: list[int], micro_batch: int):
    layout = lay_out(lengths, settings(packing=True, micro_batch=micro_batch))
    for step in layout.steps:
        for pack in step:
            assert 0 < sum(lengths[index] for index in pack) <= 64 * micro_batch


@given(LENGTHS, st.booleans())
def test_no_pair_is_seen_twice_before_all_were_seen(lengths: list[int], packing: bool):
    layout = lay_out(lengths, settings(packing=packing))
    seen = Counter(index for step in range(1, 6) for index in layout.pairs(step))
    counts = [seen[index] for index in range(len(lengths))]
    assert max(counts) - min(counts) <= 1


def test_packed_and_unpacked_steps_hold_the_same_pairs():
    lengths = [5, 60, 7, 31, 22, 18, 9, 40, 3, 55, 12]
    one, other = (lay_out(lengths, settings(packing=packing)) for packing in (False, True))
    for step in range(1, 6):
        assert sorted(one.pairs(step)) == sorted(other.pairs(step))
    assert one.all_tokens() == other.all_tokens()


def test_packing_takes_fewer_forward_passes():
    lengths = [8] * 32
    assert lay_out(lengths, settings(packing=True)).accumulation == 1
    assert lay_out(lengths, settings(packing=False, micro_batch=1)).accumulation == 8


def test_the_seed_decides_the_order():
    lengths = list(range(2, 34))
    orders = [lay_out(lengths, settings(seed=seed)).steps for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]


def test_neighbours_in_a_micro_batch_are_of_like_length():
    lengths = [10, 60, 11, 61, 12, 62, 13, 63]
    for step in lay_out(lengths, settings(micro_batch=2)).steps:
        assert all(abs(lengths[a] - lengths[b]) == 1 for a, b in step)


@given(LENGTHS, st.integers(1, 4), st.integers(1, 4), st.booleans())
def test_processes_get_equally_many_micro_batches_and_none_without_pairs(
    lengths: list[int], processes: int, each: int, packing: bool
):
    chosen = settings(batch_size=processes * each, processes=processes, packing=packing)
    layout = lay_out(lengths, chosen)
    for step in layout.steps:
        assert len(step) == layout.accumulation * processes
        assert all(micro and sum(lengths[index] for index in micro) <= 64 * 2 for micro in step)
    alone = lay_out(lengths, settings(batch_size=processes * each, packing=packing))
    assert [sorted(layout.pairs(step)) for step in range(1, 6)] == [
        sorted(alone.pairs(step)) for step in range(1, 6)
    ]
