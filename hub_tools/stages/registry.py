"""What a stage is: one function and one config, put in the registry by `@stage`.

A stage's function returns one of three things, and the runner does the rest:

- `Ask`: `prompt(row) -> messages` and `parse(answer, row) -> row | Reject`, for stages that ask a model;
- `Transform`: rows in, rows (or `Rejected`) out;
- `Build`: inputs in, a model folder out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, Protocol, TypedDict, TypeVar, Unpack

from pydantic import BaseModel, ConfigDict, Field

from hub_tools.columns import to_columns
from hub_tools.errors import RecipeError
from hub_tools.hub.provenance import Statement
from hub_tools.records import Generation, Messages, Rejected, Row

In = TypeVar("In", bound=Row)
Out = TypeVar("Out", bound=Row)
Made = TypeVar("Made")
MODEL: Literal["model"] = "model"


class StageConfig(BaseModel):
    """Settings of a stage; every one of them is part of the node's fingerprint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def files(self) -> Sequence[str]:
        """Return the source files that the settings name: local paths or globs, or `hf://datasets/…`
        addresses.
        """
        return ()

    def packages(self) -> Mapping[str, str]:
        """Return the packages of a registry that the settings name: address (`pkg:…`) and sha256."""
        return {}


class AskConfig(StageConfig):
    """Settings that every stage has that asks a model."""

    max_new_tokens: int = Field(
        512, ge=1, description="Longest answer, in tokens of the model that is asked."
    )
    temperature: float = Field(1.0, gt=0, le=10, description="Sampling temperature.")
    top_p: float | None = Field(
        0.9, gt=0, lt=1, description="Nucleus sampling, 0 < top_p < 1; null samples the whole distribution."
    )
    attempts: int = Field(
        1,
        ge=1,
        le=20,
        description="How often a row is asked, with a new seed each time, until its answer parses.",
    )
    more_room: float = Field(
        2.0,
        ge=1,
        le=16,
        description="An answer that was cut off and does not parse is asked for once more, with this many "
        "times the room; 1 never does.",
    )
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (), max_length=4, description="Texts at which an answer ends; TGI takes four at most."
    )


@dataclass(frozen=True, slots=True)
class Reject:
    """Why a row is not passed on: a short reason that gets counted, and a detail that a person reads."""

    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A model's answer: its text, how it came about, and each token with its rivals' log probabilities if
    asked for.
    """

    text: str
    generation: Generation
    tokens: Sequence[tuple[str, Mapping[str, float]]] = ()

    @property
    def truncated(self) -> bool:
        """Whether the answer ended only because it ran out of room."""
        return self.generation.finish_reason == "length"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask(Generic[In, Out]):
    """A stage that asks a model once a row.

    `request` is merged into every request; `kept` looks at all rows and says which go into the config `kept`.
    """

    prompt: Callable[[In], Messages]
    parse: Callable[[Answer, In], Out | Reject]
    request: Mapping[str, Any] = field(default_factory=dict)
    kept: Callable[[Iterable[Out]], Callable[[Out], bool]] | None = None
    note: Callable[[Iterable[Out]], str] | None = None


class News(TypedDict, total=False):
    """What there is to tell beside rows that are done.

    `rejected` rows are added; `total` is set once it is known; `note` is shown beside the count until the
    next one; `left` is the seconds to come, where the stage knows better than the rows tell; `line` is
    printed and stays.
    """

    rejected: int
    total: int | None
    note: str
    left: float | None
    line: str


class Tick(Protocol):
    """Tells the progress display what was done."""

    def __call__(self, done: int = 0, **news: Unpack[News]) -> None:
        """Add `done` rows, and take the news."""


def silent(done: int = 0, **news: Unpack[News]) -> None:
    """Stand in for a progress display where nobody watches."""


class Inputs(Protocol):
    """What the runner gives to a stage: the node's name, its pinned inputs, a folder for work, the progress
    display.
    """

    name: str
    work: Path
    tick: Tick

    def rows(self, name: str) -> Iterator[Any]:
        """Stream the rows of an input, in order."""

    def count(self, name: str) -> int:
        """Return how many rows an input has."""

    def names(self) -> Sequence[str]:
        """Return the names of all inputs."""

    def kind(self, name: str) -> type | Literal["model"]:
        """Return the record type of an input's rows, or MODEL."""

    def folder(self, name: str, patterns: Sequence[str] | None = None) -> Path:
        """Return the local snapshot of a model input, or of the files that match the patterns."""

    def published(self, name: str) -> tuple[str, str, str]:
        """Return an input's repo, sha and version."""

    def files(self) -> Sequence[Path]:
        """Return local copies of the source files, in order."""

    def node(self, name: str) -> str:
        """Return the name of the node (or repo) that an input comes from."""

    def statement(self, name: str) -> Statement:
        """Return the provenance statement of an input that a node published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """What a stage adds to its repo and card beside the rows."""

    body: str = ""
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Transform(Generic[Made]):
    """A stage that turns its inputs into rows; each input row must come out as a row or as a `Rejected`."""

    rows: Callable[[Inputs], Iterator[Made | Rejected]]
    extras: Callable[[], Extras] = Extras


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model ready to publish: its folder, and the facts that its card and provenance state.

    `keep` names folders of the work that stay once it is published; the others are deleted.
    """

    folder: Path
    method: str
    relation: str
    library: str
    settings: Mapping[str, Any]
    read: int = 0
    rejects: Mapping[str, int] = field(default_factory=dict)
    losses: Sequence[tuple[int, float]] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    example_prompt: str = ""
    parameters: int | None = None
    license: str | None = None
    base: str | None = None  # what it was made from, where that is no input of the node
    notes: Sequence[str] = ()
    held_out: Sequence[tuple[int, float]] = ()
    samples: Sequence[Mapping[str, str]] = ()
    keep: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """A stage that makes a model."""

    build: Callable[[Inputs], Model]


Render = Callable[..., str]
Work = Ask[Any, Any] | Transform[Any] | Build


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a stage: the record type of its rows (or MODEL), and the node it reads unless the recipe
    says so.
    """

    kind: type[Row] | Literal["model"]
    default: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A registered stage. `version` goes up when its code changes what rows it makes."""

    name: str
    version: int
    repo: str
    reads: Mapping[str, Input]
    writes: type | Literal["model"]
    asks: str | None
    prompts: Sequence[str]
    config: type[StageConfig]
    make: Callable[[Any, Render], Work]
    config_name: str
    reads_nodes: bool = False

    @property
    def summary(self) -> str:
        """The first sentence of the stage function's docstring."""
        return (self.make.__doc__ or "").strip().splitlines()[0]

    @property
    def description(self) -> str:
        """The whole docstring of the stage function, on one line: what a card says of the repo first."""
        return " ".join((self.make.__doc__ or "").split())


STAGES: dict[str, Stage] = {}


def stage(
    name: str,
    *,
    writes: type | Literal["model"],
    version: int = 1,
    repo: str | None = None,
    config_name: str | None = None,
    reads: Mapping[str, Input] | None = None,
    asks: str | None = None,
    prompts: Sequence[str] = (),
    reads_nodes: bool = False,
) -> Callable[[Callable[[Any, Render], Work]], Callable[[Any, Render], Work]]:
    """Register a stage function `(config, render) -> Ask | Transform | Build` under `name`.

    `repo` is what its repos are called, `config_name` the config that holds its rows, `asks` the endpoint it
    asks unless the recipe says otherwise; a stage that
    `reads_nodes` takes a list of nodes of any kind (all others by default) in place of named inputs.
    """

    def register(make: Callable[[Any, Render], Work]) -> Callable[[Any, Render], Work]:
        config = make.__annotations__["config"]
        config = make.__globals__[config] if isinstance(config, str) else config
        STAGES[name] = Stage(
            name=name,
            version=version,
            repo=repo or name,
            reads=reads or {},
            writes=writes,
            asks=asks,
            prompts=prompts,
            config=config,
            make=make,
            config_name=config_name or repo or name,
            reads_nodes=reads_nodes,
        )
        return make

    return register


def known_stages() -> Mapping[str, Stage]:
    """Return every stage by name."""
    import hub_tools.stages  # noqa: F401  (registers them)

    return STAGES


def get_stage(name: str, where: str) -> Stage:
    """Return a stage by name; `where` is the recipe key to name in the error.

    Raises:
        RecipeError: there is none of that name.
    """
    known = known_stages()
    if name not in known:
        raise RecipeError(f"{where}: there is no stage {name!r}; there are {', '.join(sorted(known))}")
    return known[name]


def carry(row: Row) -> dict[str, Any]:
    """Return what every later row keeps of an earlier one."""
    return {"id": row.id, "source": row.source, "url": row.url, "license": row.license}


def rejected(row: Row, reject: Reject) -> Rejected:
    """Return a row as a reject with its reason."""
    content = json.dumps(to_columns(row), ensure_ascii=False, sort_keys=True)
    return Rejected(id=row.id, reason=reject.reason, detail=reject.detail, row=content)
