"""What a card is made of: plain facts, gathered by whoever publishes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from dataset_cards.lengths import PairLengths


@dataclass(frozen=True, slots=True, kw_only=True)
class Funnel:
    """What became of the rows a stage read: `read == kept + sum(rejects.values())`, else it is no funnel.

    `details` are what is said of one row of each reason (untrusted text).
    """

    read: int
    kept: int
    rejects: Mapping[str, int]
    details: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse counts that do not add up."""
        if self.read != self.kept + sum(self.rejects.values()):
            raise ValueError(
                f"the funnel does not add up: {self.read} read, {self.kept} kept, {dict(self.rejects)}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One config of a dataset repo: rows, bytes on disk, features (the YAML form of `datasets.Features`).

    `meanings` say in a sentence (prose) what a column holds.
    """

    name: str
    description: str
    rows: int
    bytes: int
    features: Sequence[Mapping[str, object]]
    default: bool = False
    meanings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One pinned input: what it is read as (or a file's name), `hf://…@sha` or sha256, version, rows, and the
    node that made it.
    """

    name: str
    uri: str
    version: str | None
    rows: int | None
    license: str | None
    node: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUse:
    """A model that wrote text of this dataset: repo, revision (sha), licence and sampling settings."""

    role: str
    repo: str
    sha: str
    license: str | None
    sampling: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Rows of one corpus under one licence, for the attribution that is due."""

    source: str
    license: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One row to show: `head` above (the instruction), `columns` side by side (web text, rewritten, …)."""

    id: str
    head: Mapping[str, str]
    columns: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowChanges:
    """How the rows of a config differ from those of another version, told apart by their ids."""

    added: int
    dropped: int
    changed: int
    same: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What is new since an earlier version: rows by config; settings and inputs as (name, before, now)."""

    since: str
    rows: Mapping[str, RowChanges] = field(default_factory=dict)
    settings: Sequence[tuple[str, str, str]] = ()
    inputs: Sequence[tuple[str, str, str]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A box of the lineage drawing; `key` is its address (`hf://…@sha`), `lines` stand under its title.

    A `foreign` step is a repo that was not published by backforth: lineage ends there.
    """

    key: str
    title: str
    lines: Sequence[str]
    kind: Literal["dataset", "model", "file", "foreign"]
    link: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Everything a repo is made of: steps from the corpus to the repo itself, arrows between their keys."""

    steps: Sequence[Step]
    arrows: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One measured number, for the Hub's `model-index`."""

    task: str
    dataset: str
    metric: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What generation cost: requests answered (journalled ones too), tokens, wall seconds of this run."""

    requests: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What dataset and model cards share; `notes` are sentences the reader must see (limits, parse rate)."""

    repo: str
    version: str
    fingerprint: str
    node: str
    stage: str
    summary: str
    settings: Mapping[str, object]
    sources: Sequence[Source]
    license: str
    languages: Sequence[str]
    notes: Sequence[str] = ()
    licenses: Sequence[str] = ()  # all that `license` was chosen from; those of sources and models if empty
    origins: Sequence[Origin] = ()
    lineage: Lineage | None = None
    changes: Changes | None = None
    seconds: float = 0.0
    published: str = ""  # the day, such as 2026-11-28
    software: Mapping[str, str] = field(default_factory=dict)  # version by name


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFacts(Common):
    """Everything a dataset card says."""

    configs: Sequence[Config]
    funnel: Funnel
    statistics: Sequence[tuple[str, str, str]] = ()  # (column, what, value)
    examples: Sequence[Example] = ()  # untrusted texts
    scores: Mapping[int | None, int] = field(default_factory=dict)  # None: no valid score
    lengths: PairLengths | None = None
    tokenizer: str = ""  # whose tokens `lengths` counts: repo@revision
    prompts: Mapping[str, str] = field(default_factory=dict)
    models: Sequence[ModelUse] = ()
    cost: Cost | None = None
    synthetic: bool = False
    pictures: Mapping[str, bytes] = field(default_factory=dict)  # the stage's own, by path in the repo
    body: str = ""  # extra Markdown of the stage's own (the report's tables)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts(Common):
    """Everything a model card says; `relation` is the Hub's: finetune, adapter or quantized."""

    base: str | None
    base_sha: str | None
    relation: str
    method: str
    library: str = "transformers"
    losses: Sequence[tuple[int, float]] = ()  # (step, loss)
    counts: Mapping[str, int] = field(default_factory=dict)
    example_prompt: str = ""  # one prompt as the model was trained on it
    chat: bool = False  # whether its tokenizer has a chat template
    parameters: int | None = None
    evaluations: Sequence[Evaluation] = ()
    held_out: Sequence[tuple[int, float]] = ()  # (step, loss on pairs that were kept out of the training)
    samples: Sequence[Example] = ()  # untrusted texts: held-out prompts, and what the model answers
