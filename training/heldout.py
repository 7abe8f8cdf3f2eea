"""Pairs kept from training, chosen by their id alone: stable when pairs are added, equal for equal ids."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol, TypeVar


class HasId(Protocol):
    """Whatever carries the id of its row."""

    @property
    def id(self) -> str:
        """The row's id."""


Item = TypeVar("Item", bound=HasId)


def split(items: Sequence[Item], held_out: float) -> tuple[list[Item], list[Item]]:
    """Return those to train on and those held out: below 1 a share, but one at least; else that many ids."""
    chosen = _chosen({item.id for item in items}, held_out)
    return [item for item in items if item.id not in chosen], [item for item in items if item.id in chosen]


def _chosen(ids: set[str], held_out: float) -> set[str]:
    ordered = sorted(ids, key=lambda id_: (_place(id_), id_))
    if not 0 < held_out < 1:
        return set(ordered[: int(held_out)])
    return {id_ for id_ in ordered if _place(id_) < held_out} or set(ordered[:1])


def _place(id_: str) -> float:
    """Return where an id lies between 0 and 1."""
    return int.from_bytes(hashlib.sha256(b"held out/" + id_.encode()).digest()[:7]) / 2**56
