"""The mixing stage: seed pairs and web pairs, each with its source tag, in one shuffled training set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from pydantic import Field

from hub_tools.records import Mixed, Rejected, Rewritten, Seed
from hub_tools.stages.registry import Input, Inputs, Reject, Render, StageConfig, Transform, rejected, stage
from training.views import SEED_TAG, WEB_TAG, forward_pair


class MixConfig(StageConfig):
    """Settings of the mix (paper, section 3: 3.2K seed pairs beside 12.8K to 51.2K web pairs, told apart by a
    tag).
    """

    seed_pairs: int | None = Field(3200, ge=0, description="At most so many seed pairs; null takes all.")
    web_pairs: int | None = Field(None, ge=0, description="At most so many web pairs; null takes all.")
    shuffle_seed: int = Field(
        0, description="Seed of the order, and of the choice where there are too many pairs."
    )


@stage("mix", reads={"seed": Input(Seed, "seed"), "web": Input(Rewritten, "rewrite")}, writes=Mixed)
def mix(config: MixConfig, render: Render) -> Transform[Mixed]:
    """Training rows: seed pairs and web pairs, tagged by source, in shuffled order.

    Each is one user's turn and one assistant's turn, in the form that TRL trains on.
    """

    def rows(inputs: Inputs) -> Iterator[Mixed | Rejected]:
        room = {"seed": config.seed_pairs, "web": config.web_pairs}
        for name, row in _shuffled(inputs, config.shuffle_seed):
            left = room[name]
            if left == 0:
                yield rejected(row, Reject("over_count", f"more than {name}_pairs"))
                continue
            room[name] = None if left is None else left - 1
            yield _mixed(row, SEED_TAG if name == "seed" else WEB_TAG, inputs.node(name))

    return Transform(rows=rows)


def _shuffled(inputs: Inputs, seed: int) -> list[tuple[str, Seed | Rewritten]]:
    """Order all rows by a hash of seed and id: the same rows come in the same order, whatever else is in the
    mix.
    """
    rows = [(name, row) for name in ("seed", "web") for row in inputs.rows(name)]
    return sorted(rows, key=lambda item: hashlib.sha256(f"{seed}\0{item[0]}\0{item[1].id}".encode()).digest())


def _mixed(row: Seed | Rewritten, tag: str, node: str) -> Mixed:
    pair = forward_pair(row.id, row.instruction, row.response, tag)
    return Mixed(
        id=row.id,
        source=row.source,
        url=row.url,
        license=row.license,
        prompt=pair.prompt,
        completion=pair.completion,
        tag=tag,
        source_node=node,
    )
