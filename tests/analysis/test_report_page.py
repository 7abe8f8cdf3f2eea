from __future__ import annotations

import re

from markdown_it import MarkdownIt
from run_samples import LENGTHS, NODES, SCORES, node

from hub_tools.analysis.report import report_body

PAGE = MarkdownIt("commonmark").enable("table")


def headings(markdown: str) -> list[str]:
    """Return the headings of a page."""
    return re.findall(r"^## (.+)$", markdown, re.MULTILINE)


def test_the_page_shows_every_picture_and_no_other() -> None:
    page, pictures = report_body(NODES, LENGTHS, SCORES)
    assert re.findall(r"!\[.+?\]\((.+?)\)", page) == list(pictures)
    assert set(pictures) == {
        f"pictures/{name}.png" for name in ("rejects", "scores-curate", "lengths", "losses")
    }
    assert all(png.startswith(b"\x89PNG") for png in pictures.values())


def test_the_page_has_a_section_for_all_there_is() -> None:
    assert headings(report_body(NODES, LENGTHS, SCORES)[0]) == [
        "The run, node by node",
        "Rows left out, by node",
        "Scores of the judged pairs in curate",
        "Lengths of instructions and responses",
        "Losses of the trainings",
    ]


def test_sections_with_nothing_to_say_are_left_out() -> None:
    page, pictures = report_body([node("seed", 5)], {}, {})
    assert headings(page) == ["The run, node by node"]
    assert pictures == {}


def test_every_judge_has_scores_and_a_picture_of_its_own() -> None:
    page, pictures = report_body([node("a", 1)], {}, {"curate": {5: 1}, "curate-strict": {5: 2}})
    assert list(pictures) == ["pictures/scores-curate.png", "pictures/scores-curate-strict.png"]
    assert len(headings(page)) == 3


def test_a_nodes_name_can_neither_leave_the_folder_nor_add_markup() -> None:
    page, pictures = report_body([node("a", 1)], {}, {"../../<b>x</b>\n# y": {5: 1}})
    assert all(re.fullmatch(r"pictures/[a-z0-9-]+\.png", path) for path in pictures)
    assert "<b>" not in PAGE.render(page)
    assert len([token for token in PAGE.parse(page) if token.type == "heading_open"]) == 2
