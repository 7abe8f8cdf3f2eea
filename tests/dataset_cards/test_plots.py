from __future__ import annotations

import random
import struct
import warnings
from collections import Counter
from collections.abc import Callable

import pytest

from dataset_cards import plots
from dataset_cards.lengths import Lengths, PairLengths

SCORES = {1: 3, 2: 6, 3: 12, 4: 9, 5: 4, None: 7}
LOSSES = [(step, 3.0 / step) for step in range(1, 30)]


def pair(seed: int, instruction: int, response: int) -> PairLengths:
    """Return lengths scattered around two means."""
    chance = random.Random(seed)

    def around(mean: int) -> Lengths:
        return Lengths(Counter(max(1, round(chance.gauss(mean, mean / 3))) for _ in range(200)))

    return PairLengths(around(instruction), around(response))


PICTURES: dict[str, Callable[[], bytes]] = {
    "scores": lambda: plots.score_histogram(SCORES),
    "lengths": lambda: plots.length_distributions({"rewrite": pair(1, 60, 430)}),
    "rejects": lambda: plots.reject_reasons({"truncated": 12, "no_marks": 3}, 40),
    "losses": lambda: plots.loss_curves({"final": LOSSES}),
    "loss": lambda: plots.loss_curve(LOSSES, LOSSES[::3]),
}


def chunks(png: bytes) -> list[bytes]:
    """Return the names of a PNG's chunks."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    at, found = 8, []
    while at < len(png):
        size, name = struct.unpack(">I4s", png[at : at + 8])
        found.append(name)
        at += 12 + size
    return found


@pytest.mark.parametrize("name", PICTURES)
def test_the_same_numbers_give_the_same_bytes_without_date_or_version(name: str) -> None:
    first, again = PICTURES[name](), PICTURES[name]()
    assert first == again
    assert not {b"tEXt", b"iTXt", b"zTXt", b"tIME"} & set(chunks(first))


def test_a_users_own_style_changes_nothing() -> None:
    import matplotlib

    plain = PICTURES["scores"]()
    with matplotlib.rc_context({"font.size": 22, "axes.facecolor": "red", "savefig.dpi": 30}):
        assert PICTURES["scores"]() == plain


def test_other_numbers_give_another_picture() -> None:
    assert plots.score_histogram({5: 1}) != plots.score_histogram({5: 2})
    assert plots.loss_curves({"a": LOSSES}) != plots.loss_curves({"a": LOSSES[:9]})
    assert plots.loss_curve(LOSSES) != plots.loss_curve(LOSSES, LOSSES[::3])
    assert plots.reject_reasons({"x": 1}, 6) != plots.reject_reasons({"y": 1}, 6)
    assert plots.length_distributions({}) != PICTURES["lengths"]()


@pytest.mark.parametrize("text", ["$\\frac{", "_hidden", "a\nb", "<b>", "x" * 300, "\x00"])
def test_any_name_can_be_drawn(text: str) -> None:
    chunks(plots.reject_reasons({text: 1}, 2))
    chunks(plots.loss_curves({text: LOSSES, "b": LOSSES}))
    chunks(plots.length_distributions({text: pair(1, 9, 9)}))


def test_many_reasons_are_drawn_in_a_picture_of_bounded_height() -> None:
    few = plots.reject_reasons({f"reason {at}": 1 for at in range(12)}, 1000)
    many = plots.reject_reasons({f"reason {at}": 1 for at in range(500)}, 1000)
    assert few[16:24] == many[16:24]  # width and height


def test_nothing_to_draw_is_drawn_without_a_warning() -> None:
    zeros = Lengths()
    zeros.add([0, 0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chunks(plots.score_histogram({}))
        chunks(plots.reject_reasons({}, 0))
        chunks(plots.loss_curves({"a": []}))
        chunks(plots.length_distributions({"empty": PairLengths(), "zero": PairLengths(zeros, zeros)}))


def test_a_loss_that_is_not_a_number_leaves_a_gap() -> None:
    chunks(plots.loss_curves({"a": [(1, 2.0), (2, float("nan")), (3, 1.0)]}))
