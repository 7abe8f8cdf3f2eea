"""Which pair is trained on when: every optimiser step sees exactly `batch_size` pairs, packed or not.

The order within a step does not change its loss (the sum over the step's tokens, divided by their number), so
it is free to be chosen: neighbours of like length waste least padding, packs of like length take like time.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from training.settings import TrainSettings

Step = list[list[int]]  # the micro-batches of one optimiser step, each a list of pair indices


@dataclass(frozen=True, slots=True)
class Layout:
    """The micro-batches of every step, dealt out to the processes in turn, and each pair's tokens."""

    steps: list[Step]
    lengths: list[int]
    processes: int = 1

    @property
    def accumulation(self) -> int:
        """Micro-batches of each process in an optimiser step, the same in all."""
        return len(self.steps[0]) // self.processes

    def pairs(self, step: int) -> list[int]:
        """Return the indices of the pairs of one step, counted from 1."""
        return [index for micro in self.steps[step - 1] for index in micro]

    def tokens(self, step: int) -> int:
        """Return the tokens of one step, counted from 1, without padding."""
        return _load(self.pairs(step), self.lengths)

    def all_tokens(self, after: int = 0) -> int:
        """Return the tokens of the whole training, or of what comes after a step, without padding."""
        return sum(self.tokens(step) for step in range(after + 1, len(self.steps) + 1))


def lay_out(lengths: list[int], settings: TrainSettings) -> Layout:
    """Lay out all steps of a resolved training: micro-batches of pairs, or packs of max_length tokens."""
    stream = chain.from_iterable(_epochs(len(lengths), settings.seed))
    batches = [list(islice(stream, settings.batch_size)) for _ in range(settings.steps)]
    micro = settings.micro_batch or 1
    processes = settings.processes
    if settings.packing:
        steps = _packed(batches, lengths, micro * settings.max_length, processes)
    else:
        steps = [_sliced(batch, lengths, micro) for batch in batches]
    return Layout(steps, lengths, processes)


def _epochs(count: int, seed: int) -> Iterator[list[int]]:
    """Yield all pairs again and again, each time in another order."""
    epoch = 0
    while True:
        order = list(range(count))
        random.Random(f"{seed}/{epoch}").shuffle(order)
        yield order
        epoch += 1


def _sliced(batch: Sequence[int], lengths: Sequence[int], micro: int) -> Step:
    ordered = sorted(batch, key=lambda index: (lengths[index], index))
    return [ordered[at : at + micro] for at in range(0, len(ordered), micro)]


def _packed(
    batches: Sequence[Sequence[int]], lengths: Sequence[int], capacity: int, processes: int
) -> list[Step]:
    """Spread each step's pairs over packs of at most `capacity` tokens, equally many a step and process."""
    packs = max(-(-_load(batch, lengths) // capacity) for batch in batches)
    packs = -(-packs // processes) * processes
    while True:
        steps = [_spread(batch, lengths, packs) for batch in batches]
        if max(_load(pack, lengths) for step in steps for pack in step) <= capacity:
            return steps
        packs += processes


def _spread(batch: Sequence[int], lengths: Sequence[int], packs: int) -> Step:
    """Put the longest pair first, each into the emptiest pack; the capacity is the caller's to check."""
    step: Step = [[] for _ in range(packs)]
    loads = [0] * packs
    for index in sorted(batch, key=lambda index: (-lengths[index], index)):
        emptiest = loads.index(min(loads))
        step[emptiest].append(index)
        loads[emptiest] += lengths[index]
    return step


def _load(pack: Sequence[int], lengths: Sequence[int]) -> int:
    return sum(lengths[index] for index in pack)
