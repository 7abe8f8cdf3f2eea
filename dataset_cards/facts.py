"""What a card is made of: plain facts, gathered by whoever publishes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Funnel:
    """What became of the rows a stage read: `read == kept + sum(rejects.values())`, else it is no funnel."""

    read: int
    kept: int
    rejects: Mapping[str, int]

    def __post_init__(self) -> None:
        """Refuse counts that do not add up."""
        if self.read != self.kept + sum(self.rejects.values()):
            raise ValueError(
                f"the funnel does not add up: {self.read} read, {self.kept} kept, {dict(self.rejects)}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One config of a dataset repo: rows, bytes on disk, features (the YAML form of `datasets.Features`)."""

    name: str
    description: str
    rows: int
    bytes: int
    features: Sequence[Mapping[str, object]]
    default: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One pinned input: the node that made it (or a file's name), `hf://…@sha` or sha256, version, rows."""

    name: str
    uri: str
    version: str | None
    rows: int | None
    license: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUse:
    """A model that wrote text of this dataset: repo, revision (sha), licence and sampling settings."""

    role: str
    repo: str
    sha: str
    license: str | None
    sampling: Mapping[str, object]


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
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFacts(Common):
    """Everything a dataset card says."""

    configs: Sequence[Config]
    funnel: Funnel
    statistics: Sequence[tuple[str, str, str]] = ()  # (column, what, value)
    examples: Sequence[Mapping[str, str]] = ()  # label -> text, untrusted
    prompts: Mapping[str, str] = field(default_factory=dict)
    models: Sequence[ModelUse] = ()
    cost: Cost | None = None
    synthetic: bool = False
    pictures: Sequence[tuple[str, str]] = ()  # (path in the repo, alternative text)
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
    parameters: int | None = None
