from __future__ import annotations

import pytest
from training_samples import make_pairs, quick

from training import needs, trainer
from training.errors import TrainingError
from training.publish import Base
from training.sft import train
from training.throughput import Meter, meter, told


def test_the_share_of_the_peak_is_six_operations_a_weight_and_token():
    full = Meter(flops=6 * 6.74e9, peak=989e12)
    assert full.mfu(13_043) == pytest.approx(0.533, abs=0.002)
    assert Meter(flops=1.0).mfu(100) is None
    assert meter("qlora", 1000, 10, 2).flops == 4000


def test_the_time_left_is_told_at_the_mean_speed():
    watch = Meter(left=1000)
    assert watch.seconds_left() == 0
    watch.add(100, 2.0)
    watch.add(300, 2.0)
    assert watch.seconds_left() == pytest.approx(600 / 100)
    watch.evaluations_left = 3
    watch.add_evaluation(seconds=5)
    assert watch.seconds_left() == pytest.approx(600 / 100 + 2 * 5)


@pytest.mark.parametrize(("seconds", "text"), [(5, "5 s"), (90, "2 min"), (3600, "60 min"), (9000, "2.5 h")])
def test_times_are_told_as_people_say_them(seconds: float, text: str):
    assert told(seconds) == text


def test_every_step_tells_how_long_it_goes_on(base: Base, tmp_path):
    events = []
    train(quick("full"), make_pairs(12), base, tmp_path, events.append)
    assert [event.seconds_left > 0 for event in events] == [True, True, True, False]
    assert {event.mfu for event in events} == {None}  # a CPU has no peak that anybody states


def test_a_tracker_that_is_not_installed_is_refused_with_the_way_out(
    base: Base, work, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(needs, "installed", lambda package: False)
    with pytest.raises(TrainingError, match=r"tracker is trackio.*pip install trackio"):
        train(quick("full", tracker="trackio"), make_pairs(12), base, work)


@pytest.mark.parametrize(("found", "tracker"), [(False, "none"), (True, "trackio")])
def test_trackio_draws_the_losses_where_it_is_installed(
    found: bool, tracker: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(trainer, "installed", lambda package: found)
    assert trainer._tracker(quick("full")) == tracker
