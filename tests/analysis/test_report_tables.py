from __future__ import annotations

from dataclasses import replace

import pytest
from markdown_it import MarkdownIt
from run_samples import LENGTHS, NODES, SCORES, curve, node

from dataset_cards.lengths import PairLengths
from hub_tools.analysis import tables
from hub_tools.analysis.report import NodeSummary

PAGE = MarkdownIt("commonmark").enable("table")


def rows(markdown: str) -> list[list[str]]:
    """Return the cells of a Markdown table as a reader sees them, without its head."""
    tokens = PAGE.parse(markdown)
    cells = [
        "".join(child.content for child in token.children or []) for token in tokens if token.type == "inline"
    ]
    width = sum(token.type == "th_open" for token in tokens)
    return [cells[at : at + width] for at in range(width, len(cells), width)]


def test_the_funnel_has_a_row_for_every_node_and_adds_up() -> None:
    found = rows(tables.funnel(NODES))
    assert [row[0] for row in found] == [item.node for item in NODES]
    assert all(int(row[3]) == int(row[4]) + int(row[5]) for row in found)
    assert found[0] == ["seed", "demo/backforth-seed", "v1", "73", "60", "13", "3 min 0 s"]


def test_every_reject_is_in_the_table_of_reasons() -> None:
    found = rows(tables.rejects(NODES))
    assert sum(int(row[2]) for row in found) == sum(item.read - item.kept for item in NODES)
    assert found[0] == ["seed", "rank", "9", "12.3 %"]


def test_counts_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValueError, match="rewrite: 5 rows"):
        NodeSummary(node="rewrite", repo="a/b", version="v1", read=5, kept=3, rejects={"empty": 1})


def test_scores_stand_beside_the_shares_of_the_paper() -> None:
    found = rows(tables.scores(SCORES["curate"]))
    assert [row[0] for row in found] == ["5", "4", "3", "2", "1", "none"]
    assert [row[2] for row in found] == ["4", "9", "12", "6", "3", "7"]
    assert (found[0][3:], found[-1][3:]) == (["9.8 %", "13.6 %"], ["17.1 %", "12.0 %"])
    assert max(found, key=lambda row: len(row[1]))[0] == "3"


def test_scores_of_no_pairs_are_zeros() -> None:
    assert [row[2] for row in rows(tables.scores({}))] == ["0"] * 6


def test_our_lengths_stand_above_those_of_the_paper() -> None:
    found = rows(tables.lengths(LENGTHS))
    assert [row[0] for row in found[:5]] == [
        "seed",
        "curate",
        "rewrite",
        "distill",
        "paper: Dolma + filtering",
    ]
    assert found[0][1] == "200"
    assert found[0][2] == f"{LENGTHS['seed'].instruction.summary().mean:.0f}"
    assert (found[6][2], found[6][6]) == ("69", "468")
    assert len(found) == 14


def test_a_dataset_without_rows_has_no_lengths() -> None:
    assert rows(tables.lengths({"empty": PairLengths()}))[0] == ["empty", "0", *["-"] * 8]


def test_losses_show_where_they_began_and_ended() -> None:
    losses = [(1, 3.0), (2, 1.5), (3, 2.0)]
    assert rows(tables.losses([node("train", 0, losses), node("seed", 3)])) == [
        ["train", "█▁▃", "3", "3.000", "1.500", "2.000"]
    ]


@pytest.mark.parametrize("text", ["a|b", "<b>x</b>", "`", "\\|", "a\nb", "*x*", "$x$"])
def test_a_name_breaks_no_table(text: str) -> None:
    nodes = [
        NodeSummary(node=text, repo=text, version=text, read=1, kept=0, rejects={text: 1}, losses=curve(2, 1))
    ]
    shown = " ".join(text.split())
    assert rows(tables.funnel(nodes))[0][:3] == [shown] * 3
    assert rows(tables.rejects(nodes))[0][:2] == [shown] * 2
    assert rows(tables.losses(nodes))[0][0] == shown
    assert rows(tables.lengths({text: PairLengths()}))[0][0] == shown


def test_the_forecast_stands_beside_the_fact_and_says_whether_it_held() -> None:
    told = {
        "requests": [90, 100, 120],
        "hours": [0.5, 1.0, 1.5],
        "dollars": [1.0, 2.0, 3.0],
        "rows": [1, 1, 1],
    }
    facts = {"requests": 121, "hours": 1.25, "dollars": 2.5}
    piloted = replace(node("rewrite", 27), forecast=told, facts=facts)
    assert rows(tables.forecasts([node("seed", 3), piloted])) == [
        ["rewrite", "requests", "100", "90 to 120", "121", "no"],
        ["rewrite", "hours", "1 h 0 min", "30 min 0 s to 1 h 30 min", "1 h 15 min", "yes"],
        ["rewrite", "dollars", "2.00", "1.00 to 3.00", "2.50", "yes"],
    ]
