"""Where the boxes and the arrows of a layered graph go: rows by longest path, few crossings, short arrows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import combinations, pairwise

_SWEEPS = 16


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in a row: a box, or the bend of all arrows that pass this row on their way to the box `key`."""

    key: str
    row: int
    is_box: bool


@dataclass(slots=True)
class Layout:
    """Rows of spots from left to right, the links between spots of neighbouring rows, each spot's centre."""

    rows: list[list[Spot]]
    links: list[tuple[Spot, Spot]]
    x: dict[Spot, float] = field(default_factory=dict)


def layered(
    keys: Sequence[str],
    arrows: Iterable[tuple[str, str]],
    *,
    box: float,
    bend: float,
    gap: float,
    across: int,
) -> Layout:
    """Place boxes (their width, and that of a bend and of the gap between) with at most `across` in a row."""
    edges = _acyclic(keys, arrows)
    found = _spots(_rows(keys, edges, across), edges)
    found.rows = _with_few_crossings(found)
    found.x = _centres(found, {True: box + gap, False: bend + gap})
    return found


def _acyclic(keys: Sequence[str], arrows: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the arrows between known boxes, each once, without those that would close a circle."""
    edges = [(a, b) for a, b in dict.fromkeys(arrows) if a != b and a in keys and b in keys]
    while True:
        graph: dict[str, list[str]] = {key: [a for a, b in edges if b == key] for key in keys}
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            circle = error.args[1]
            edges.remove((circle[0], circle[1]))
        else:
            return edges


def _rows(keys: Sequence[str], edges: Sequence[tuple[str, str]], across: int) -> dict[str, int]:
    """Return each box's row: below all it is made of, just above its first user, wide layers over several."""
    above = {key: [a for a, b in edges if b == key] for key in keys}
    below = {key: [b for a, b in edges if a == key] for key in keys}
    layer: dict[str, int] = {}
    for key in TopologicalSorter(above).static_order():
        layer[key] = max((layer[other] + 1 for other in above[key]), default=0)
    for key in keys:
        if not above[key] and below[key]:
            layer[key] = min(layer[other] for other in below[key]) - 1
    rows: dict[str, int] = {}
    first = 0
    for depth in sorted(set(layer.values())):
        members = [key for key in keys if layer[key] == depth]
        height = -(-len(members) // across)
        rows |= {key: first + at * height // len(members) for at, key in enumerate(members)}
        first += height
    return rows


def _spots(rows: Mapping[str, int], edges: Sequence[tuple[str, str]]) -> Layout:
    """Return the boxes and bends in their rows; arrows to one box join on their way."""
    boxes = {key: Spot(key, row, is_box=True) for key, row in rows.items()}
    links: dict[tuple[Spot, Spot], None] = {}
    for a, b in edges:
        between = [Spot(b, row, is_box=False) for row in range(rows[a] + 1, rows[b])]
        links |= dict.fromkeys(pairwise([boxes[a], *between, boxes[b]]))
    spots = dict.fromkeys([*boxes.values(), *(spot for link in links for spot in link)])
    height = max(rows.values(), default=-1) + 1
    return Layout([[spot for spot in spots if spot.row == row] for row in range(height)], list(links))


def _with_few_crossings(found: Layout) -> list[list[Spot]]:
    """Return the rows in the best order of some sweeps that put each spot between its neighbours."""
    orders = [found.rows]
    for sweep in range(_SWEEPS):
        # Every other time, equals change places: a better order may lie behind an equal one.
        orders.append(_swept(orders[-1], found.links, down=sweep % 2 == 0, turn=sweep % 4 > 1))
    return min(orders, key=lambda rows: (_crossings(rows, found.links), _slant(rows, found.links)))


def _swept(
    rows: list[list[Spot]], links: Sequence[tuple[Spot, Spot]], *, down: bool, turn: bool
) -> list[list[Spot]]:
    """Return the rows, each ordered by the mean place of its spots' neighbours in the row before it."""
    near = _neighbours([link if down else link[::-1] for link in links])
    done: list[list[Spot]] = []
    place: dict[Spot, float] = {}
    for row in rows if down else rows[::-1]:
        own = _places(row)
        wish = {spot: _mean([place[other] for other in near.get(spot, [])], own[spot]) for spot in row}
        ordered = sorted(row, key=lambda spot: (wish[spot], -own[spot] if turn else own[spot]))
        place |= _places(ordered)
        done.append(ordered)
    return done if down else done[::-1]


def _crossings(rows: list[list[Spot]], links: Sequence[tuple[Spot, Spot]]) -> int:
    """Return how many pairs of links cross."""
    place = {spot: at for row in rows for at, spot in enumerate(row)}
    by_row: dict[int, list[tuple[int, int]]] = {}
    for a, b in links:
        by_row.setdefault(a.row, []).append((place[a], place[b]))
    return sum(
        (one[0] - two[0]) * (one[1] - two[1]) < 0
        for ends in by_row.values()
        for one, two in combinations(ends, 2)
    )


def _slant(rows: list[list[Spot]], links: Sequence[tuple[Spot, Spot]]) -> float:
    """Return how far from upright the links are, all in all."""
    place = {spot: at for row in rows for spot, at in _places(row).items()}
    return sum(abs(place[a] - place[b]) for a, b in links)


def _places(row: Sequence[Spot]) -> dict[Spot, float]:
    """Return each spot's place in its row, between 0 and 1."""
    return {spot: (at + 0.5) / len(row) for at, spot in enumerate(row)}


def _centres(found: Layout, room: Mapping[bool, float]) -> dict[Spot, float]:
    """Return the spots' centres: as near to those of their neighbours as order and room allow."""
    near = _neighbours([*found.links, *(link[::-1] for link in found.links)])
    x: dict[Spot, float] = {}
    for row in found.rows:
        offsets = _offsets(row, room)
        x |= {spot: at - offsets[-1] / 2 for spot, at in zip(row, offsets, strict=True)}
    for sweep in range(_SWEEPS):
        for row in found.rows if sweep % 2 else found.rows[::-1]:
            wishes = [_wish(spot, near.get(spot, []), x) for spot in row]
            x |= zip(row, _apart(row, wishes, _offsets(row, room)), strict=True)
    return x


def _offsets(row: Sequence[Spot], room: Mapping[bool, float]) -> list[float]:
    """Return the centres of a row's spots, side by side from 0 on."""
    found = [0.0]
    for a, b in pairwise(row):
        found.append(found[-1] + (room[a.is_box] + room[b.is_box]) / 2)
    return found


def _wish(spot: Spot, near: Sequence[Spot], x: Mapping[Spot, float]) -> float:
    """Return where a spot would stand best: near its neighbours, most of all where arrows pass; inwards."""
    pulls = [(x[other], 3 if spot.is_box or other.is_box else 24) for other in near]
    return sum(at * pull for at, pull in pulls) / (1 + sum(pull for _, pull in pulls))


def _apart(row: Sequence[Spot], wishes: Sequence[float], offsets: Sequence[float]) -> list[float]:
    """Return the places nearest to the wishes (least squares) that keep their order and distances."""
    blocks: list[tuple[float, int, int]] = []  # mean shift of spots that touch, its weight, how many they are
    for spot, wish, offset in zip(row, wishes, offsets, strict=True):
        shift, weight, count = wish - offset, 1 if spot.is_box else 16, 1
        while blocks and blocks[-1][0] > shift:
            other, heavy, others = blocks.pop()
            shift = (shift * weight + other * heavy) / (weight + heavy)
            weight, count = weight + heavy, count + others
        blocks.append((shift, weight, count))
    shifts = [shift for shift, _, count in blocks for _ in range(count)]
    return [shift + offset for shift, offset in zip(shifts, offsets, strict=True)]


def _neighbours(links: Iterable[tuple[Spot, Spot]]) -> dict[Spot, list[Spot]]:
    """Return for each spot those from which a link leads to it."""
    found: dict[Spot, list[Spot]] = {}
    for a, b in links:
        found.setdefault(b, []).append(a)
    return found


def _mean(values: Sequence[float], otherwise: float) -> float:
    """Return the mean, or something else where there are no values."""
    return sum(values) / len(values) if values else otherwise
