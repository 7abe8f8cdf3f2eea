from __future__ import annotations

import struct
import subprocess
import sys
import warnings
from collections.abc import Callable

import pytest
from run_samples import LENGTHS, NODES, SCORES, curve, node

from hub_tools.analysis import figures
from dataset_cards.lengths import Lengths, PairLengths

FIGURES: dict[str, Callable[[], bytes]] = {
    "scores": lambda: figures.score_histogram(SCORES["curate"]),
    "lengths": lambda: figures.length_distributions(LENGTHS),
    "rejects": lambda: figures.reject_reasons(NODES),
    "losses": lambda: figures.loss_curves(NODES),
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


@pytest.mark.parametrize("name", FIGURES)
def test_the_same_numbers_give_the_same_bytes_without_date_or_version(name: str) -> None:
    first, again = FIGURES[name](), FIGURES[name]()
    assert first == again
    assert not {b"tEXt", b"iTXt", b"zTXt", b"tIME"} & set(chunks(first))


def test_a_users_own_style_changes_nothing() -> None:
    import matplotlib

    plain = FIGURES["scores"]()
    with matplotlib.rc_context({"font.size": 22, "axes.facecolor": "red", "savefig.dpi": 30}):
        assert FIGURES["scores"]() == plain


def test_other_numbers_give_another_picture() -> None:
    assert figures.score_histogram({5: 1}) != figures.score_histogram({5: 2})
    assert figures.loss_curves([node("a", 0, curve(3, 1))]) != figures.loss_curves(
        [node("a", 0, curve(3, 2))]
    )
    assert figures.reject_reasons([node("a", 5, x=1)]) != figures.reject_reasons([node("a", 5, y=1)])
    assert figures.length_distributions({}) != figures.length_distributions(LENGTHS)


@pytest.mark.parametrize("text", ["$\\frac{", "_hidden", "a\nb", "<b>", "x" * 300, "\x00"])
def test_any_name_can_be_drawn(text: str) -> None:
    chunks(figures.reject_reasons([node(text, 1, **{text: 1})]))
    chunks(figures.loss_curves([node(text, 0, curve(2, 1))]))
    chunks(figures.length_distributions({text: LENGTHS["seed"]}))


def test_more_reasons_than_colours_share_the_last_one() -> None:
    rejects = {f"reason_{at:02}": 30 - at for at in range(20)}
    reasons = figures._reasons([node("a", 0, **rejects)])
    assert reasons == [*list(rejects)[:6], "other reasons"]
    assert sum(figures._rejected(node("a", 0, **rejects), reason, reasons) for reason in reasons) == sum(
        rejects.values()
    )
    chunks(figures.reject_reasons([node("a", 0, **rejects)]))


def test_nothing_to_draw_is_drawn_without_a_warning() -> None:
    zeros = Lengths()
    zeros.add([0, 0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chunks(figures.score_histogram({}))
        chunks(figures.reject_reasons([]))
        chunks(figures.loss_curves([node("a", 3)]))
        chunks(figures.length_distributions({"empty": PairLengths(), "zero": PairLengths(zeros, zeros)}))


def test_a_loss_that_is_not_a_number_leaves_a_gap() -> None:
    chunks(figures.loss_curves([node("a", 0, [(1, 2.0), (2, float("nan")), (3, 1.0)])]))


def test_matplotlib_is_loaded_only_to_draw() -> None:
    program = "import sys, hub_tools.analysis.report; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
