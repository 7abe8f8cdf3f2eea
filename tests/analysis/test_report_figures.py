from __future__ import annotations

import subprocess
import sys

import pytest
from run_samples import NODES, node

from hub_tools.analysis import figures


def test_the_same_run_gives_the_same_picture_and_another_run_another() -> None:
    assert figures.outcomes(NODES) == figures.outcomes(NODES)
    assert figures.outcomes([node("a", 5, x=1)]) != figures.outcomes([node("a", 5, y=1)])


@pytest.mark.parametrize("text", ["$\\frac{", "_hidden", "a\nb", "<b>", "x" * 300, "\x00"])
def test_any_node_and_reason_can_be_drawn(text: str) -> None:
    assert figures.outcomes([node(text, 1, **{text: 1})]).startswith(b"\x89PNG")


def test_more_reasons_than_colours_share_the_last_one() -> None:
    rejects = {f"reason_{at:02}": 30 - at for at in range(20)}
    reasons = figures._reasons([node("a", 0, **rejects)])
    assert reasons == [*list(rejects)[:6], "other reasons"]
    assert sum(figures._rejected(node("a", 0, **rejects), reason, reasons) for reason in reasons) == sum(
        rejects.values()
    )
    assert figures.outcomes([node("a", 0, **rejects)]).startswith(b"\x89PNG")


def test_a_run_without_readers_is_drawn() -> None:
    assert figures.outcomes([]).startswith(b"\x89PNG")


def test_matplotlib_is_loaded_only_to_draw() -> None:
    program = "import sys, hub_tools.analysis.report; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
