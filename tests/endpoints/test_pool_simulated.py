"""How many requests a server gets at once, for servers of many kinds, in simulated time."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from simulated import Simulated, asked

from hub_tools.endpoints.failures import EndpointError, Overloaded, Unfinished

Seconds = Callable[[random.Random, int], float]


def around(median: float, sigma: float) -> Seconds:
    """Log-normal times of answers."""
    return lambda chance, at_work: median * chance.lognormvariate(0, sigma)


def sharing(median: float, knee: int) -> Seconds:
    """A server that takes all in and gets slower, as batches do."""
    return lambda chance, at_work: median * chance.lognormvariate(0, 0.7) * (1 + at_work / knee)


@pytest.mark.parametrize("tells", [True, False])
def test_a_server_that_takes_thousands_in_is_not_flooded(tells: bool) -> None:
    server = Simulated(lambda now: 32, around(10, 0.5), limit=10_000, told=10_000, tells=tells)
    assert asked([server], 3000) == 0
    assert len(server.sent) == 3000
    assert server.most <= 256
    assert server.rate(200, 900) > 0.95 * 32 / (10 * math.exp(0.125))


@pytest.mark.parametrize(
    ("slots", "seconds", "best"),
    [
        (256, around(10, 1.0), 256 / (10 * math.exp(0.5))),
        (8, around(5, 0.5), 8 / (5 * math.exp(0.125))),
        (256, sharing(5, 64), 256 / (5 * math.exp(0.245) * 5)),
        (32, lambda chance, at_work: 20.0 if chance.random() < 0.1 else 0.1, 32 / 2.09),
    ],
    ids=["long tail", "few slots", "batches that get slower", "a tenth takes long"],
)
def test_a_server_that_tells_nothing_gets_what_it_can_work_on(
    slots: int, seconds: Seconds, best: float
) -> None:
    server = Simulated(lambda now: slots, seconds, tells=False)
    assert asked([server], 8000) == 0
    end = server.answered[6500]
    assert server.rate(end / 2, end) > 0.7 * best
    assert server.most < 3.5 * slots + 32


@pytest.mark.parametrize(
    ("slots", "seconds"), [(1, around(20, 0.5)), (64, sharing(5, 4))], ids=["one slot", "gets slower"]
)
def test_answers_that_come_too_late_make_room_and_cost_no_row(slots: int, seconds: Seconds) -> None:
    server = Simulated(lambda now: slots, seconds, tells=False, timeout=120)
    assert asked([server], 300) == 0
    assert len(server.sent) < 1.4 * 300


def test_a_limit_that_is_not_told_is_found_without_a_storm() -> None:
    server = Simulated(lambda now: 20, around(2, 0.5), limit=20)
    assert asked([server], 3000) == 0
    assert len(server.sent) < 1.1 * 3000
    assert max(sum(second <= moment < second + 1 for moment in server.sent) for second in range(300)) < 60
    assert server.rate(30, 300) > 0.95 * 10 / math.exp(0.125)


@pytest.mark.parametrize("tells", [True, False])
def test_slots_that_go_and_come_back_are_noticed(tells: bool) -> None:
    server = Simulated(
        lambda now: 8 if 100 < now < 400 else 64, around(2, 0.5), limit=128, told=128, tells=tells
    )
    assert asked([server], 10_500) == 0
    assert server.rate(50, 100) > 0.95 * 32 / math.exp(0.125)
    assert server.rate(200, 400) > 0.95 * 4 / math.exp(0.125)
    assert server.rate(480, 550) > 0.9 * 32 / math.exp(0.125)


def test_a_server_that_is_slower_for_a_while_keeps_its_places() -> None:
    def seconds(chance: random.Random, at_work: int) -> float:
        return 20 if 2000 < len(server.sent) < 2400 else 2

    server = Simulated(lambda now: 64, seconds, limit=64, told=64, tells=False)
    assert asked([server], 6000) == 0
    assert server.answered[-1] < 6000 / 32 + 400 / 3.2 + 60


def test_a_storm_of_429s_is_over_soon_after_it_ends() -> None:
    def fails(now: float) -> EndpointError | None:
        return Overloaded("no") if 60 < now < 120 and chance.random() < 0.5 else None

    chance = random.Random(1)
    server = Simulated(lambda now: 64, around(2, 0.5), limit=64, told=64, fails=fails)
    assert asked([server], 8000) == 0
    assert sum(60 < moment < 120 for moment in server.sent) < 1000
    assert server.rate(260, 300) > 0.9 * 32 / math.exp(0.125)


def test_a_replica_that_fails_fast_takes_no_work_from_the_others() -> None:
    well = Simulated(lambda now: 64, around(2, 0.5), limit=64, told=64)
    broken = Simulated(lambda now: 64, around(2, 0.5), told=64, fails=lambda now: Unfinished("500"))
    assert asked([broken, well], 4000) == 0
    assert len(broken.sent) < 120
    assert well.rate(10, 120) > 0.95 * 32 / math.exp(0.125)


def test_replicas_of_unequal_speed_are_all_full() -> None:
    fast = Simulated(lambda now: 32, around(1, 0.5), limit=128, told=128)
    slow = Simulated(lambda now: 32, around(10, 0.5), limit=128, told=128)
    assert asked([fast, slow], 6000) == 0
    assert fast.rate(50, 150) > 0.95 * 32 / math.exp(0.125)
    assert slow.rate(50, 150) > 0.9 * 3.2 / math.exp(0.125)
