"""The lineage of a repo as one SVG: what it is made of, from the top down; safe to show in any page."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from html import escape as escaped

from dataset_cards.escape import visible
from dataset_cards.facts import Lineage, Step
from dataset_cards.layout import Layout, Spot, layered

LINEAGE = "pictures/lineage.svg"  # where a repo keeps the drawing

_WIDTH, _GAP, _BEND, _MARGIN, _BETWEEN, _ACROSS = 236.0, 22.0, 2.0, 18.0, 44.0, 3
_PAD, _LINES = 12.0, 5  # between a box and its text; lines shown under a title
_FILES = 6  # boxes of files that lead to the same steps; the last one stands for the rest
_WORDS = {"dataset": "dataset", "model": "model", "file": "file", "foreign": "not by backforth"}
_SANS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
# By day: (fill, line) of each kind, as attributes, so that the drawing is right where styles are taken out.
_DAY = {
    "dataset": ("#eaf4fb", "#0072b2"),
    "model": ("#fdf0e6", "#c2500a"),
    "file": ("#f4f4f4", "#6b6b6b"),
    "foreign": ("#ffffff", "#8f4f7d"),
}
_NIGHT = {
    "dataset": ("#0d2637", "#56b4e9"),
    "model": ("#38200f", "#f0954d"),
    "file": ("#23282e", "#a3abb3"),
    "foreign": ("#15191e", "#d795bf"),
}
_LINK = re.compile(r"(https?://|/(?!/))[!-~]*")
_GROUND, _INK, _PALE, _ARROW = "#ffffff", "#1b1f24", "#57606a", "#7d8590"


def drawing(lineage: Lineage) -> str:
    """Return the lineage as a standalone SVG, the same bytes for the same steps; the last step stands out."""
    lineage = _folded(lineage)
    steps = {step.key: step for step in lineage.steps}
    placed = layered(list(steps), lineage.arrows, box=_WIDTH, bend=_BEND, gap=_GAP, across=_ACROSS)
    tops, heights, bottom = _vertical(placed, steps)
    left = min((placed.x[spot] - _half(spot) for spot in placed.x), default=0.0) - _MARGIN
    right = max((placed.x[spot] + _half(spot) for spot in placed.x), default=0.0) + _MARGIN
    placed.x = {spot: x - left for spot, x in placed.x.items()}
    last = list(steps)[-1] if steps else ""
    arrows = [_arrow(placed, a, b, tops, heights, steps) for a, b in placed.links]
    boxes = [
        _box(steps[spot.key], placed.x[spot] - _WIDTH / 2, tops[spot.row], this=spot.key == last)
        for row in placed.rows
        for spot in row
        if spot.is_box
    ]
    return "\n".join([*_opening(lineage, right - left, bottom), *arrows, *boxes, "</svg>", ""])


def _folded(lineage: Lineage) -> Lineage:
    """Return the lineage with one box for the rest of many files that go the same way."""
    targets: dict[str, list[str]] = {}
    for a, b in dict.fromkeys(lineage.arrows):
        targets.setdefault(a, []).append(b)
    alike: dict[tuple[str, ...], list[Step]] = {}
    for step in lineage.steps[:-1]:
        if step.kind == "file":
            alike.setdefault(tuple(targets.get(step.key, [])), []).append(step)
    rest: dict[str, Step] = {}
    for files in alike.values():
        if len(files) > _FILES:
            more = replace(
                files[_FILES - 1], title=f"{len(files) - _FILES + 1:,} more files", lines=[], link=None
            )
            rest |= dict.fromkeys((step.key for step in files[_FILES - 1 :]), more)
    steps = dict.fromkeys(rest.get(step.key, step).key for step in lineage.steps)
    found = {step.key: rest.get(step.key, step) for step in lineage.steps}
    arrows = [(a, b) for a, b in lineage.arrows if a not in rest or rest[a].key == a]
    return Lineage(steps=[found[key] for key in steps], arrows=arrows)


def _vertical(placed: Layout, steps: dict[str, Step]) -> tuple[list[float], list[float], float]:
    """Return the rows' upper ends and heights, and the height of the whole."""
    tops: list[float] = []
    heights = [max((_height(steps[s.key]) for s in row if s.is_box), default=0.0) for row in placed.rows]
    y = _MARGIN
    for height in heights:
        tops.append(y)
        y += height + _BETWEEN
    return tops, heights, y - _BETWEEN + _MARGIN if heights else 2 * _MARGIN


def _opening(lineage: Lineage, width: float, height: float) -> list[str]:
    """Return what stands before arrows and boxes: the texts for screen readers, the night's colours."""
    size = f'width="{_n(width)}" height="{_n(height)}" viewBox="0 0 {_n(width)} {_n(height)}"'
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="bf-lineage" role="group" {size} '
        'aria-labelledby="bf-lineage-title bf-lineage-text" '
        f'font-family="{_SANS}">',
        f'<title id="bf-lineage-title">{_text(_title(lineage))}</title>',
        f'<desc id="bf-lineage-text">{_text(_description(lineage))}</desc>',
        f"<style>{style()}</style>",
        '<defs><marker id="bf-lineage-tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
        'markerHeight="7" orient="auto">'
        f'<path class="bf-tip" d="M0,1 L9,5 L0,9 z" fill="{_ARROW}"/></marker></defs>',
        f'<rect class="bf-ground" width="100%" height="100%" rx="10" fill="{_GROUND}"/>',
    ]


def _title(lineage: Lineage) -> str:
    """Return the drawing's name."""
    return f"What {_one_line(lineage.steps[-1].title)} is made of" if lineage.steps else "No lineage"


def _description(lineage: Lineage) -> str:
    """Return the drawing in words: every step, its kind, and what it is made of."""
    names = {step.key: _one_line(step.title) for step in lineage.steps}
    sentences = []
    for step in lineage.steps:
        parts = [names[a] for a, b in dict.fromkeys(lineage.arrows) if b == step.key and a in names]
        made = f", made from {', '.join(parts)}" if parts else ""
        sentences.append(f"{names[step.key]} ({_WORDS[step.kind]}){made}.")
    return " ".join(sentences)


def style() -> str:
    """Return the style sheet of every drawing, dark pages included; all rules are for drawings only."""
    colours = {".bf-ground": "fill:#15191e", ".bf-ink": "fill:#e6edf3", ".bf-pale": "fill:#a3abb3"}
    colours |= {f".bf-{kind}": f"fill:{fill};stroke:{line}" for kind, (fill, line) in _NIGHT.items()}
    colours |= {f".bf-word-{kind}": f"fill:{line}" for kind, (_, line) in _NIGHT.items()}
    colours |= {".bf-arrow": "stroke:#8b949e", ".bf-tip": "fill:#8b949e"}
    rules = "".join(f".bf-lineage {what}{{{look}}}" for what, look in colours.items())
    plain = ".bf-lineage{max-width:100%;height:auto}.bf-lineage a:hover .bf-ink{text-decoration:underline}"
    return f"{plain}@media(prefers-color-scheme:dark){{{rules}}}"


def _arrow(
    placed: Layout, a: Spot, b: Spot, tops: Sequence[float], heights: Sequence[float], steps: dict[str, Step]
) -> str:
    """Return the curve from one spot to one in the next row; at a bend it goes on straight down."""
    x, y = placed.x[a], tops[a.row] + (_height(steps[a.key]) if a.is_box else heights[a.row])
    to_x, to_y = placed.x[b], tops[b.row] - (1.0 if b.is_box else 0.0)
    bow = (to_y - tops[a.row] - heights[a.row]) * 0.6
    path = f"M{_n(x)},{_n(y)} C{_n(x)},{_n(y + bow)} {_n(to_x)},{_n(to_y - bow)} {_n(to_x)},{_n(to_y)}"
    end = ' marker-end="url(#bf-lineage-tip)"' if b.is_box else ""
    path += "" if b.is_box else f" V{_n(to_y + heights[b.row])}"
    return f'<path class="bf-arrow" d="{path}" fill="none" stroke="{_ARROW}" stroke-width="1.6"{end}/>'


def _box(step: Step, x: float, y: float, *, this: bool) -> str:
    """Return a box with its texts in a viewport of its own, out of which nothing can be seen."""
    height = _height(step)
    line = _DAY[step.kind][1]
    word = f"{_WORDS[step.kind]} · this repo" if this else _WORDS[step.kind]
    texts = [
        _line(word, 22, 10, f'class="bf-word-{step.kind}" fill="{line}" font-weight="600"'),
        _line(step.title, 40, 13, f'class="bf-ink" fill="{_INK}" font-weight="600"'),
    ]
    texts += [
        _line(text, 58 + 16 * at, 11, f'class="bf-pale" fill="{_PALE}"')
        for at, text in enumerate(_lines(step))
    ]
    whole = "\n".join([_shape(step, height, this=this), *texts])
    if step.link and _LINK.fullmatch(step.link):
        whole = f'<a href="{_text(step.link)}">{whole}</a>'
    return (
        f'<svg x="{_n(x)}" y="{_n(y)}" width="{_n(_WIDTH)}" height="{_n(height)}" overflow="hidden">'
        f"<title>{_text(_one_line(step.title))}</title>{whole}</svg>"
    )


def _shape(step: Step, height: float, *, this: bool) -> str:
    """Return a box's outline: round for a dataset, cut corners for a model, a dog-ear for a file."""
    fill, line = _DAY[step.kind]
    edge = 3.0 if this else 1.5
    low, right, bottom, cut = edge / 2, _WIDTH - edge / 2, height - edge / 2, 11.0
    look = f'class="bf-{step.kind}" fill="{fill}" stroke="{line}" stroke-width="{_n(edge)}"'
    if step.kind == "model":
        path = (
            f"M{_n(low + cut)},{_n(low)} H{_n(right - cut)} L{_n(right)},{_n(low + cut)} V{_n(bottom - cut)} "
            f"L{_n(right - cut)},{_n(bottom)} H{_n(low + cut)} L{_n(low)},{_n(bottom - cut)} "
            f"V{_n(low + cut)} z"
        )
        return f'<path {look} d="{path}"/>'
    if step.kind == "file":
        path = (
            f"M{_n(low)},{_n(low)} H{_n(right - cut)} L{_n(right)},{_n(low + cut)} V{_n(bottom)} "
            f"H{_n(low)} z M{_n(right - cut)},{_n(low)} V{_n(low + cut)} H{_n(right)}"
        )
        return f'<path {look} d="{path}"/>'
    dashes = ' stroke-dasharray="6 4"' if step.kind == "foreign" else ""
    size = f'width="{_n(_WIDTH - edge)}" height="{_n(height - edge)}"'
    return f'<rect {look} x="{_n(low)}" y="{_n(low)}" {size} rx="9"{dashes}/>'


def _line(text: str, y: float, size: float, look: str) -> str:
    """Return one line of text that fits its box."""
    bold = 1.1 if "font-weight" in look else 1.0
    fitted = shortened(_one_line(text), _WIDTH - 2 * _PAD, size * bold)
    return f'<text x="{_n(_PAD)}" y="{_n(y)}" font-size="{_n(size)}" {look}>{_text(fitted)}</text>'


def shortened(text: str, width: float, size: float) -> str:
    """Return the text without its middle if it is wider (pixels, for a font of this size) than that."""
    room = width / size
    if sum(map(_em, text)) <= room:
        return text
    head, tail, used = 0, 0, 1.0
    while True:
        front = head <= tail
        used += _em(text[head] if front else text[-1 - tail])
        if used > room:
            return f"{text[:head]}…{text[len(text) - tail :]}"
        head, tail = (head + 1, tail) if front else (head, tail + 1)


def _em(char: str) -> float:
    """Return about how wide a character is, in ems: never less than in a wide sans serif."""
    if unicodedata.combining(char):
        return 0.0
    if not char.isascii():
        wide = unicodedata.east_asian_width(char) in "WF" or unicodedata.category(char) == "So"
        return 1.4 if wide else 0.85
    if char in "iljfrtI.,:;'|!() []/-":
        return 0.45
    return 1.0 if char in "mwMW@%&" else 0.78 if char.isupper() else 0.64


def _height(step: Step) -> float:
    """Return how high a step's box is."""
    lines = len(_lines(step))
    return 52.0 + 16.0 * lines + (4.0 if lines else 0.0)


def _lines(step: Step) -> list[str]:
    """Return the lines under a step's title, which need not say it again."""
    return [line for line in step.lines if line != step.title][:_LINES]


def _half(spot: Spot) -> float:
    """Return half of a spot's width."""
    return (_WIDTH if spot.is_box else _BEND) / 2


def _one_line(text: str) -> str:
    """Return the text on one line, with what XML cannot hold spelt out."""
    return " ".join(visible(text[:2000]).split())


def _text(text: str) -> str:
    """Return the text as character data."""
    return escaped(text, quote=True)


def _n(value: float) -> str:
    """Return a number of pixels, as short as it can be."""
    return f"{value:.1f}".removesuffix(".0")
