from __future__ import annotations

import random
import xml.etree.ElementTree as ElementTree
from itertools import combinations

import pytest
from card_samples import DEFAULT, lineage, step
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset_cards.facts import Lineage
from dataset_cards.layout import Layout, layered
from dataset_cards.lineage import drawing, shortened

SVG = "{http://www.w3.org/2000/svg}"
Box = tuple[float, float, float, float]


def tree(found: Lineage) -> ElementTree.Element:
    """Return a drawing as a reader of XML sees it."""
    return ElementTree.fromstring(drawing(found))


def boxes(svg: ElementTree.Element) -> dict[str, Box]:
    """Return where each box lies: left, top, right, bottom."""
    found = {}
    for box in svg.findall(f"{SVG}svg"):
        x, y, width, height = (float(box.get(name, "")) for name in ("x", "y", "width", "height"))
        found[box.findtext(f"{SVG}title", "")] = (x, y, x + width, y + height)
    return found


def places(*arrows: str) -> Layout:
    """Return the layout of a lineage in units of one box."""
    found = lineage(*arrows)
    keys = [item.key for item in found.steps]
    return layered(keys, found.arrows, box=1.0, bend=0.1, gap=0.1, across=3)


def random_lineage(steps: int, seed: int) -> Lineage:
    """Return a graph in which every step is made of some of those before it."""
    chance = random.Random(seed)
    arrows = [
        f"s{chance.randrange(at)}>s{at}" for at in range(1, steps) for _ in range(chance.choice([1, 1, 3]))
    ]
    return lineage(*arrows)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("steps", [2, 13, 40])
def test_boxes_lie_inside_the_drawing_and_apart(steps: int, seed: int) -> None:
    svg = tree(random_lineage(steps, seed))
    width, height = float(svg.get("width", "")), float(svg.get("height", ""))
    found = boxes(svg)
    assert len(found) == steps
    for left, top, right, bottom in found.values():
        assert left >= 0
        assert top >= 0
        assert right <= width
        assert bottom <= height
    for one, two in combinations(found.values(), 2):
        assert one[2] <= two[0] or two[2] <= one[0] or one[3] <= two[1] or two[3] <= one[1]


def test_every_arrow_leads_down() -> None:
    found = boxes(tree(DEFAULT))
    assert all(found[a][3] < found[b][1] for a, b in DEFAULT.arrows)


def test_a_step_stands_just_above_its_first_user() -> None:
    rows = {spot.key: spot.row for spot in places("a>b", "b>c", "c>d", "late>d").x if spot.is_box}
    assert rows == {"a": 0, "b": 1, "c": 2, "late": 2, "d": 3}


def test_wide_layers_take_several_rows_and_their_arrows_join() -> None:
    found = places(*(f"part-{at}>mix" for at in range(12)))
    assert [sum(spot.is_box for spot in row) for row in found.rows] == [3, 3, 3, 3, 1]
    assert [sum(not spot.is_box for spot in row) for row in found.rows] == [0, 1, 1, 1, 0]


def test_arrows_that_need_not_cross_do_not() -> None:
    found = places("a>x", "b>y", "c>x")
    place = {spot: at for row in found.rows for at, spot in enumerate(row)}
    ends = [(place[a], place[b]) for a, b in found.links]
    assert all((a[0] - b[0]) * (a[1] - b[1]) >= 0 for a, b in combinations(ends, 2))


@pytest.mark.parametrize("arrows", [["a>b", "b>a"], ["a>a"], ["a>b", "b>c", "c>a", "b>d"]])
def test_a_circle_is_drawn_without_the_arrow_that_closes_it(arrows: list[str]) -> None:
    svg = tree(lineage(*arrows))
    assert len(boxes(svg)) == len({name for arrow in arrows for name in arrow.split(">")})


def test_arrows_to_unknown_steps_are_left_out() -> None:
    assert len(boxes(tree(Lineage(steps=[step("a")], arrows=[("a", "gone"), ("gone", "a")])))) == 1


def test_many_files_of_one_step_are_drawn_as_a_few() -> None:
    files = [step(f"part-{at}", kind="file") for at in range(5000)]
    other = step("trees", kind="file")
    arrows = [*((file.key, "responses") for file in files), ("trees", "seed")]
    found = boxes(tree(Lineage(steps=[*files, other, step("responses"), step("seed")], arrows=arrows)))
    first = [f"part-{at}" for at in range(5)]
    assert set(found) == {*first, "4,995 more files", "trees", "responses", "seed"}


def test_six_files_are_drawn_as_they_are() -> None:
    files = [step(f"part-{at}", kind="file") for at in range(6)]
    found = Lineage(steps=[*files, step("mix")], arrows=[(file.key, "mix") for file in files])
    assert len(boxes(tree(found))) == 7


def test_nothing_is_a_drawing_too() -> None:
    assert boxes(tree(Lineage(steps=[], arrows=[]))) == {}


def test_the_same_steps_give_the_same_bytes() -> None:
    assert drawing(DEFAULT) == drawing(DEFAULT)
    assert drawing(random_lineage(40, 1)) != drawing(random_lineage(40, 2))


def test_only_the_last_step_is_this_repo() -> None:
    words = [text.text for text in tree(DEFAULT).iter(f"{SVG}text") if "this repo" in (text.text or "")]
    assert words == ["dataset · this repo"]


@pytest.mark.parametrize(
    ("kind", "word"),
    [("dataset", "dataset"), ("model", "model"), ("file", "file"), ("foreign", "not by backforth")],
)
def test_every_kind_has_a_word_and_a_look_of_its_own(kind: str, word: str) -> None:
    svg = drawing(Lineage(steps=[step("a", kind=kind), step("b")], arrows=[]))
    assert f">{word}</text>" in svg
    assert f'class="bf-{kind}"' in svg


def test_screen_readers_get_the_whole_graph_in_words() -> None:
    svg = tree(lineage("seed>mix", "rewrite>mix"))
    assert svg.findtext(f"{SVG}title") == "What rewrite is made of"
    text = svg.findtext(f"{SVG}desc")
    assert text == "seed (dataset). mix (dataset), made from seed, rewrite. rewrite (dataset)."


@pytest.mark.parametrize("link", ["https://hf.co/a/b", "http://127.0.0.1:8408/a", "/datasets/a/b"])
def test_a_step_links_to_its_page(link: str) -> None:
    svg = tree(Lineage(steps=[step("a", link=link)], arrows=[]))
    assert [found.get("href") for found in svg.iter(f"{SVG}a")] == [link]


@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", "data:text/html,x", "//evil.example", " /x", "https://x/\x00", "", None]
)
def test_other_links_are_left_out(link: str | None) -> None:
    assert not list(tree(Lineage(steps=[step("a", link=link)], arrows=[])).iter(f"{SVG}a"))


HOSTILE = st.one_of(
    st.text(max_size=60),
    st.text(alphabet="<>&\"']=-/\x00\x1b\u202e\ud800\ufffe\u0301漢😀W ", max_size=60),
    st.sampled_from(["</text><script>alert(1)</script>", "]]>", "<!--", "W" * 300, "&lt;", "{{ 7*7 }}"]),
)


@settings(deadline=None)
@given(HOSTILE)
def test_no_text_adds_anything_to_the_drawing(text: str) -> None:
    def shape(svg: ElementTree.Element) -> list[tuple[str, list[str]]]:
        return [(item.tag, sorted(item.keys())) for item in svg.iter()]

    def lineage_of(name: str) -> Lineage:
        last = step("b", title=name, lines=[name, name], link="https://x/?a&b")
        return Lineage(steps=[step(name + "!", kind="model"), last], arrows=[(name + "!", "b")])

    assert shape(tree(lineage_of(text))) == shape(tree(lineage_of("plain")))
    drawing(lineage_of(text)).encode()


def test_nothing_is_loaded_or_run() -> None:
    svg = drawing(DEFAULT)
    assert svg.count("http") == 1  # the namespace
    for word in ("script", "image", "@import", "foreignObject", "onload", "data:"):
        assert word not in svg


@settings(deadline=None)
@given(st.text(max_size=200), st.floats(30, 300))
def test_a_shortened_name_keeps_its_ends(text: str, width: float) -> None:
    found = shortened(text, width, 13)
    head, dots, tail = found.partition("…")
    assert found == text or (text.startswith(head) and text.endswith(tail) and dots)
    assert len(found) <= len(text) or "…" in found


def test_a_long_name_loses_its_middle() -> None:
    found = shortened("backforth-dolma-filtering-rewriting-70b", 212, 13)
    assert found.startswith("backforth-")
    assert found.endswith("-70b")
    assert shortened("backforth-mix", 212, 13) == "backforth-mix"
