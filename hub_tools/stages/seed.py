"""The seed stage: human-written pairs out of an Open Assistant export."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import Field

from hub_tools.records import Rejected, Seed, row_id
from hub_tools.stages.registry import Inputs, Render, StageConfig, Transform, stage
from hub_tools.stages.sources import BadLines, json_lines


class SeedConfig(StageConfig):
    """Settings of the seed stage (paper, section 3: 3,200 pairs)."""

    source: str = Field(
        description="Trees in Open Assistant's export format (.jsonl or .jsonl.gz): a path, a glob, or "
        "hf://datasets/REPO@REVISION/FILE."
    )
    language: str = Field("en", description="Keep trees of this language.")
    max_rank: int = Field(0, ge=0, description="Keep replies up to this human rank; 0 is the best one.")
    max_pairs: int | None = Field(3200, ge=1, description="Keep the first so many pairs; null keeps all.")
    license: str = Field("apache-2.0", description="The licence of the trees.")
    label: str = Field("oasst", description="What the rows' column `source` says.")
    bad_lines: BadLines = Field("stop", description="What a line that is not JSON does: stop, or reject.")

    def files(self) -> list[str]:
        """Return the one source that the settings name."""
        return [self.source]


@stage("seed", writes=Seed)
def seed(config: SeedConfig, render: Render) -> Transform[Seed]:
    """Human-written pairs: the first turn of each conversation tree, with the reply that people ranked best.

    They teach both models of the method: one to follow instructions, and one to find the instruction that a
    text answers.
    """

    def rows(inputs: Inputs) -> Iterator[Seed | Rejected]:
        seen: set[str] = set()
        kept = 0
        for tree in json_lines(inputs.files(), config.bad_lines, "stages.seed"):
            if isinstance(tree, Rejected):
                yield tree
                continue
            result = _pair(tree, config)
            if isinstance(result, Seed):
                if result.instruction in seen:
                    result = _reject(tree, "duplicate", "the instruction of an earlier tree")
                elif config.max_pairs is not None and kept >= config.max_pairs:
                    result = _reject(tree, "over_count", f"more than max_pairs={config.max_pairs}")
                else:
                    seen.add(result.instruction)
                    kept += 1
            yield result

    return Transform(rows=rows)


def _pair(tree: dict[str, Any], config: SeedConfig) -> Seed | Rejected:
    prompt = tree.get("prompt")
    if not isinstance(prompt, dict) or not str(prompt.get("text") or "").strip():
        return _reject(tree, "no_prompt", "the tree has no first turn")
    if prompt.get("deleted"):
        return _reject(tree, "deleted", "the first turn was deleted")
    if prompt.get("lang") != config.language:
        return _reject(tree, "language", f"{prompt.get('lang')}, not {config.language}")
    reply = _best_reply(prompt, config.max_rank)
    if reply is None:
        return _reject(tree, "no_ranked_reply", f"no reply with a rank up to {config.max_rank}")
    tree_id = str(tree.get("message_tree_id") or prompt.get("message_id") or "")
    return Seed(
        id=row_id("oasst", tree_id),
        source=config.label,
        url=None,
        license=config.license,
        instruction=str(prompt["text"]).strip(),
        response=str(reply["text"]).strip(),
        lang=config.language,
        rank=reply["rank"],
        tree_id=tree_id,
    )


def _best_reply(prompt: dict[str, Any], max_rank: int) -> dict[str, Any] | None:
    replies = [reply for reply in prompt.get("replies") or [] if isinstance(reply, dict)]
    ranked = [
        reply
        for reply in replies
        if isinstance(reply.get("rank"), int)
        and reply["rank"] <= max_rank
        and not reply.get("deleted")
        and str(reply.get("text") or "").strip()
    ]
    return min(ranked, key=lambda reply: int(reply["rank"]), default=None)


def _reject(tree: dict[str, Any], reason: str, detail: str) -> Rejected:
    content = json.dumps(tree, ensure_ascii=False, sort_keys=True)
    tree_id = str(tree.get("message_tree_id") or content)
    return Rejected(id=row_id("oasst", tree_id), reason=reason, detail=detail, row=content)
