"""Provenance: what a published repo was made of, as an in-toto Statement v1 with the SLSA provenance v1
predicate.
"""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hub_tools import __version__
from hub_tools.errors import HubError
from hub_tools.hub.digests import parquet_digests, sha256

PROVENANCE = "provenance.json"
SOURCE, PACKAGE = "source", "package"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:backforth:node:v1"
LIBRARIES = ("datasets", "huggingface_hub", "peft", "pyarrow", "torch", "transformers", "trl")

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class StatementError(HubError):
    """A file is no statement that this version of backforth can read; the message says why."""


class _Part(BaseModel):
    """A part of a statement; keys that later versions add are passed over."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)


class RowGroupDigest(_Part):
    """A row group of a Parquet file: rows, and offset, length (bytes) and sha256 of its part of the file."""

    rows: int = Field(ge=0)
    offset: int = Field(ge=0)
    length: int = Field(ge=0)
    sha256: Sha256


class _FileDigest(_Part):
    sha256: Sha256


class _FileNotes(_Part):
    row_groups: list[RowGroupDigest] = Field(default=[], alias="rowGroups")


class Subject(_Part):
    """A file of the commit."""

    name: str
    digest: _FileDigest
    annotations: _FileNotes = _FileNotes()

    @property
    def sha256(self) -> str:
        """The sha256 of the whole file."""
        return self.digest.sha256

    @property
    def row_groups(self) -> Sequence[RowGroupDigest]:
        """Its row groups, in the order of their offsets; none for other files than Parquet."""
        return self.annotations.row_groups


class DependencyNotes(_Part):
    """What is known of an input beside its commit; see `Dependency`."""

    node: str | None = None
    config: str | None = None
    statement: Sha256 | None = None


class Dependency(_Part):
    """A pinned input; `uri` is `hf://datasets/ns/name@sha`, `hf://ns/name@sha` (a model), a file's name, or a
    package's address (`pkg:…`).

    `statement` is the sha256 of that repo's own provenance statement, so that a chain of statements holds
    together whatever happens to one of its repos; null where the repo has none.
    """

    name: str
    uri: str
    digest: dict[str, str] = {}
    annotations: DependencyNotes = DependencyNotes()

    @property
    def is_source(self) -> bool:
        """Whether it is a source file, local or on the Hub, and no repo or package."""
        return self.name == SOURCE and "sha256" in self.digest

    @property
    def config(self) -> str | None:
        """The config of the dataset that was read; null for the default one."""
        return self.annotations.config

    @property
    def statement(self) -> str | None:
        """The sha256 of the input's own statement."""
        return self.annotations.statement


class _External(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")

    node: str
    stage: str
    settings: dict[str, Any] = {}
    prompts: dict[str, str] = {}
    seed: int | None = None


class _Internal(_Part):
    fingerprint: Sha256
    stage_version: int
    version: str | None = None


class _BuildDefinition(_Part):
    build_type: str = Field(alias="buildType")
    external: _External = Field(alias="externalParameters")
    internal: _Internal = Field(alias="internalParameters")
    dependencies: list[Dependency] = Field(alias="resolvedDependencies")


class _Byproduct(_Part):
    name: str = ""
    annotations: dict[str, Any] = {}


class _Builder(_Part):
    id: str = ""
    version: dict[str, str] = {}


class _RunDetails(_Part):
    builder: _Builder = _Builder()
    byproducts: list[_Byproduct] = []


class _Predicate(_Part):
    build: _BuildDefinition = Field(alias="buildDefinition")
    run: _RunDetails = Field(alias="runDetails")


class Statement(_Part):
    """A statement as it was read; `sha256` is that of the file it was read from."""

    type: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: list[Subject]
    predicate: _Predicate
    sha256: str = ""

    @property
    def node(self) -> str:
        """The node that made the repo."""
        return self.predicate.build.external.node

    @property
    def stage(self) -> str:
        """The stage of that node."""
        return self.predicate.build.external.stage

    @property
    def stage_version(self) -> int:
        """The version of the stage's code."""
        return self.predicate.build.internal.stage_version

    @property
    def fingerprint(self) -> str:
        """The node's fingerprint, 64 hexadecimal digits."""
        return self.predicate.build.internal.fingerprint

    @property
    def version(self) -> str | None:
        """The version that was published, `vN`."""
        return self.predicate.build.internal.version

    @property
    def settings(self) -> Mapping[str, Any]:
        """The node's settings, but for the places of its source files."""
        return self.predicate.build.external.settings

    @property
    def prompts(self) -> Mapping[str, str]:
        """The prompt templates, by name."""
        return self.predicate.build.external.prompts

    @property
    def seed(self) -> int | None:
        """The run's seed, for stages that ask a model."""
        return self.predicate.build.external.seed

    @property
    def dependencies(self) -> Sequence[Dependency]:
        """Everything that the node read."""
        return self.predicate.build.dependencies

    @property
    def builder(self) -> str:
        """What made it: `backforth@VERSION`."""
        return self.predicate.run.builder.id

    @property
    def run(self) -> Mapping[str, Any]:
        """What is recorded of the run: counts, seconds, losses."""
        return next((part.annotations for part in self.predicate.run.byproducts if part.name == "run"), {})


def build(
    *,
    node: str,
    stage: str,
    stage_version: int,
    fingerprint: str,
    version: str,
    parameters: Mapping[str, Any],
    dependencies: Sequence[Dependency],
    files: Mapping[str, Path | bytes],
    started: datetime,
    run: Mapping[str, Any],
) -> dict[str, Any]:
    """Build the statement for the files of one commit; `run` holds counts, endpoint facts and times.

    No token and no local path goes in.
    """
    return {
        "_type": STATEMENT_TYPE,
        "subject": [_subject(path, files[path]) for path in sorted(files)],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"node": node, "stage": stage, **parameters},
                "internalParameters": {
                    "fingerprint": fingerprint,
                    "stage_version": stage_version,
                    "version": version,
                },
                "resolvedDependencies": [
                    dependency.model_dump(exclude_defaults=True) for dependency in dependencies
                ],
            },
            "runDetails": {
                "builder": {"id": f"backforth@{__version__}", "version": versions()},
                "metadata": {"startedOn": _time(started), "finishedOn": _time(datetime.now(UTC))},
                "byproducts": [{"name": "run", "annotations": dict(run)}],
            },
        },
    }


def to_bytes(document: Mapping[str, Any]) -> bytes:
    """Return a statement as it is stored."""
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def read(content: bytes, where: str) -> Statement:
    """Read a statement; `where` names it in errors.

    Raises:
        StatementError: it is no statement, or one of a later version.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise StatementError(f"{where} is no JSON: {error}") from error
    _check_types(document, where)
    try:
        statement = Statement.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise StatementError(f"{where} is no whole statement: {place}: {first['msg']}") from error
    return statement.model_copy(update={"sha256": sha256(content)})


def _check_types(document: Any, where: str) -> None:
    """Tell a statement of another kind, or of a later version, from a broken one."""
    if not isinstance(document, dict) or document.get("_type") != STATEMENT_TYPE:
        raise StatementError(f"{where} is no in-toto statement of version 1")
    if document.get("predicateType") != PREDICATE_TYPE:
        raise StatementError(
            f"{where} holds the predicate {document.get('predicateType')!r}, not {PREDICATE_TYPE}"
        )
    try:
        found = str(document["predicate"]["buildDefinition"]["buildType"])
    except (KeyError, TypeError) as error:
        raise StatementError(f"{where} names no buildType") from error
    if found == BUILD_TYPE:
        return
    if found.startswith(BUILD_TYPE.rpartition("v")[0]):
        raise StatementError(f"{where} was written by a later backforth ({found}); update yours to read it")
    raise StatementError(f"{where} was not written by backforth: its buildType is {found[:100]!r}")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that shape results, where they are installed."""
    found = {"python": platform.python_version(), "backforth": __version__}
    for library in LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return found


def _subject(path: str, content: Path | bytes) -> dict[str, Any]:
    if isinstance(content, bytes) or not path.endswith(".parquet"):
        return {"name": path, "digest": {"sha256": sha256(content)}}
    whole, groups = parquet_digests(content)
    return {
        "name": path,
        "digest": {"sha256": whole},
        "annotations": {"rowGroups": [dataclasses.asdict(group) for group in groups]},
    }


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
