"""Facts that the tests of this folder vary."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dataset_cards.facts import (
    Config,
    Cost,
    DatasetFacts,
    Example,
    Funnel,
    Lineage,
    ModelFacts,
    ModelUse,
    Source,
    Step,
)

CURATED = Source(
    name="curate",
    uri=f"hf://datasets/demo/backforth-curated@{'a' * 40}",
    version="v3",
    rows=32,
    license="odc-by",
)
FEATURES = [
    {"name": "id", "dtype": "string"},
    {"name": "instruction", "dtype": "string"},
    {"name": "score", "dtype": "int64"},
    {
        "name": "messages",
        "list": [{"name": "role", "dtype": "string"}, {"name": "content", "dtype": "string"}],
    },
    {
        "name": "generation",
        "struct": [{"name": "model", "dtype": "string"}, {"name": "seed", "dtype": "int64"}],
    },
]
REJECTED = [{"name": name, "dtype": "string"} for name in ("id", "reason", "detail", "row")]

_COMMON: dict[str, Any] = {
    "version": "v2",
    "fingerprint": "ab" * 32,
    "sources": [CURATED],
    "languages": ["en"],
    "settings": {"max_new_tokens": 256, "sampling": {"temperature": 1.0, "top_p": 0.9}},
}


def dataset_facts(**changes: Any) -> DatasetFacts:
    """Return the facts of a small rewritten dataset, changed."""
    facts = DatasetFacts(
        repo="demo/backforth-rewritten",
        node="rewrite",
        stage="rewrite",
        summary="Web pages with instructions. The answers are rewritten.",
        license="odc-by",
        configs=[
            Config(
                name="rewritten",
                description="What passed",
                rows=3,
                bytes=999,
                features=FEATURES,
                default=True,
            ),
            Config(name="rejected", description="What did not", rows=0, bytes=99, features=REJECTED),
        ],
        funnel=Funnel(read=10, kept=3, rejects={"truncated": 2, "no_marks": 5}),
        models=[
            ModelUse(
                role="rewriter",
                repo="demo/chat",
                sha="b" * 40,
                license="apache-2.0",
                sampling={"temperature": 1.0, "top_p": 0.9},
            )
        ],
        prompts={"rewrite": "Improve {{ draft }}."},
        cost=Cost(requests=12, prompt_tokens=3456, completion_tokens=7890, seconds=75.0),
        synthetic=True,
        **_COMMON,
    )
    return replace(facts, **changes)


def model_facts(**changes: Any) -> ModelFacts:
    """Return the facts of a small adapter, changed."""
    facts = ModelFacts(
        repo="demo/backforth-final-135m",
        node="train-final",
        stage="train",
        summary="A small model that follows instructions.",
        license="apache-2.0",
        base="demo/smollm2",
        base_sha="c" * 40,
        relation="adapter",
        method="lora",
        losses=[(step, 4.0 / step) for step in range(1, 31)],
        counts={"training pairs": 1234},
        example_prompt="<|im_start|>user\nSay `hi`.<|im_end|>\n<|im_start|>assistant\n",
        **_COMMON,
    )
    return replace(facts, **changes)


def example(**columns: str) -> Example:
    """Return a row to show, with an instruction above its columns."""
    return Example(id="0" * 16, head={"Instruction": "Say it."}, columns=columns)


def step(name: str, **changes: Any) -> Step:
    """Return a box of the lineage whose key is its name, changed."""
    return replace(Step(key=name, title=name, lines=["v1 · 39 rows", "a1b2c3d"], kind="dataset"), **changes)


def lineage(*arrows: str) -> Lineage:
    """Return a lineage from arrows such as `seed>mix`; the boxes come in the order of their first mention."""
    pairs = [(pair.partition(">")[0], pair.partition(">")[2]) for pair in arrows]
    names = dict.fromkeys(name for pair in pairs for name in pair)
    return Lineage(steps=[step(name) for name in names], arrows=pairs)


DEFAULT = lineage(
    "trees>seed", "corpus>responses", "seed>backward", "base>backward", "base>forward", "seed>forward",
    "responses>backtranslate", "backward>backtranslate", "backtranslate>curate", "forward>curate",
    "curate>rewrite", "curate>distill", "base>rewrite", "base>distill", "rewrite>mix", "distill>mix",
    "seed>mix", "mix>final", "base>final",
)  # fmt: skip
