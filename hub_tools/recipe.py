"""The recipe: one YAML file that describes a whole run; reading it checks everything that can be known
beforehand.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from hub_tools.errors import RecipeError

EMBEDDED = "embedded"
HUGGING_FACE = "https://huggingface.co"
MANY = 12  # settings, that no line has room for
ROUTES = ("/generate", "/generate_stream", "/completions", "/info", "/models")  # they are added to an address


class Section(BaseModel):
    """A part of the recipe; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class HubSection(Section):
    """Where results are published."""

    endpoint: str = Field(
        default_factory=lambda: os.environ.get("HF_ENDPOINT") or HUGGING_FACE,
        description="The Hub's address, or `embedded` for the Hub that comes along; by default that of "
        "HF_ENDPOINT, or huggingface.co.",
    )
    private: bool = Field(True, description="Make new repos private.")
    store: str = Field(".backforth/hub", description="Folder of the embedded Hub.")
    port: int = Field(8408, ge=0, le=65535, description="Port of the embedded Hub on 127.0.0.1.")


class StopWhen(Section):
    """When a run stops early, since going on would only cost; shares of all rows or requests so far."""

    rejected: float = Field(
        0.9, gt=0, le=1, description="Stop when more than this share of rows is rejected."
    )
    failed: float = Field(0.9, gt=0, le=1, description="Stop when more than this share of requests fails.")
    of_at_least: int = Field(200, ge=1, description="Rows or requests before a share is judged.")


class DedicatedSection(Section):
    """An Inference Endpoint of Hugging Face that a run starts when it needs it, and ends when it ends."""

    instance: str = Field(
        pattern=r"^[a-z0-9][a-z0-9-]*$",
        description="The hardware, such as aws-us-east-1-nvidia-a100-x1, or nvidia-a100-x1 where it is "
        "cheapest.",
    )
    image: Literal["tgi", "vllm"] = Field("tgi", description="What serves the model there.")
    replicas: int = Field(1, ge=1, description="How many of the instance at most.")
    at_end: Literal["pause", "down"] = Field(
        "pause", description="What becomes of it when the run ends: paused for the next one, or deleted."
    )
    idle: int | None = Field(
        15, ge=1, description="Minutes without a request after which it is scaled to zero; null never."
    )
    patience: float = Field(30, gt=0, description="How long it may take to come up, in minutes.")


class Price(Section):
    """What an endpoint costs, in dollars."""

    per_hour: float = Field(0, ge=0, description="For every hour, all replicas together.")
    per_million_prompt_tokens: float = Field(0, ge=0, description="For a million tokens that it reads.")
    per_million_completion_tokens: float = Field(0, ge=0, description="For a million tokens that it writes.")


class EndpointSection(Section):
    """One endpoint that stages ask. Nothing here but `model` can change rows, so nothing else is in a
    fingerprint.
    """

    model: str = Field(
        description="The model that must answer: a node that publishes one, or a Hub repo `ns/name@revision`."
    )
    url: str | list[str] | None = Field(
        None,
        description="Address of a TGI (or vLLM, SGLang, llama.cpp) server, or a list of those that serve the "
        "same model; null starts the embedded one.",
    )
    dedicated: DedicatedSection | None = Field(
        None, description="In place of `url`: an Inference Endpoint of Hugging Face to start and to end."
    )
    price: Price | None = Field(
        None, description="What it costs, for forecasts; a dedicated endpoint's comes from its service."
    )
    concurrency: int | None = Field(
        None, ge=1, description="Requests in flight at most; null lets each server's answers tell."
    )
    timeout: float = Field(600, gt=0, description="Longest wait for one answer, in seconds.")
    tries: int = Field(6, ge=1, description="How often a request is sent before its row is given up.")
    patience: float = Field(
        120, ge=0, description="How long to wait when no server answers any more, in seconds."
    )
    stop_when: StopWhen = Field(default_factory=StopWhen, description="When to stop early.")

    @property
    def urls(self) -> list[str]:
        """The addresses; none for the embedded endpoint."""
        return [self.url] if isinstance(self.url, str) else self.url or []

    @field_validator("url")
    @classmethod
    def _plain_urls(cls, url: str | list[str] | None) -> str | list[str] | None:
        for address in [url] if isinstance(url, str) else url or []:
            _plain_url(address)
        if url == []:
            raise ValueError("give at least one address, or null for the embedded endpoint")
        if isinstance(url, list) and len(set(url)) < len(url):
            raise ValueError("an address is there twice; a replica counts once")
        return url

    @field_validator("dedicated")
    @classmethod
    def _one_place(cls, dedicated: DedicatedSection | None, info: ValidationInfo) -> DedicatedSection | None:
        if dedicated and info.data.get("url"):
            raise ValueError("an endpoint has `url` or `dedicated`; leave one of them out")
        return dedicated


class RecipeFile(Section):
    """The whole file."""

    name: str = Field(
        "backforth", pattern=r"^[a-z0-9][a-z0-9._-]*$", description="First part of every repo's name."
    )
    namespace: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="User or organisation that owns the repos."
    )
    seed: int = Field(0, ge=0, description="The run's seed: every request's seed is derived from it.")
    work: str = Field(
        ".backforth/work",
        description="Folder for work in flight; it may be deleted without losing anything published.",
    )
    prompts: str | None = Field(
        None, description="Folder whose templates come before the built-in ones, relative to this file."
    )
    hub: HubSection = Field(default_factory=HubSection, description="Where results are published.")
    endpoints: dict[str, EndpointSection] = Field(
        default_factory=dict, description="The endpoints that stages ask, by name."
    )
    languages: list[str] = Field(
        default=["en"], description="Languages of the texts, as the cards name them."
    )
    notes: list[str] = Field(default_factory=list, description="Sentences that every card of the run shows.")
    stages: dict[str, dict[str, Any] | None] = Field(
        min_length=1, description="The nodes by name, each with its settings."
    )


class Recipe:
    """A recipe file that was read and checked, section by section; `graph.build` checks the nodes."""

    def __init__(self, path: Path, raw: Mapping[str, Any]) -> None:
        self.path = path
        self.raw = raw
        self.file: RecipeFile = parse(RecipeFile, raw, path.name, "")

    @property
    def where(self) -> str:
        """The file's name, for messages."""
        return self.path.name

    @property
    def folder(self) -> Path:
        """The folder that relative paths in the recipe start from."""
        return self.path.resolve().parent

    def public(self) -> str:
        """Return the recipe as it is published: no folder of this machine in it."""
        raw = yaml.safe_load(yaml.safe_dump(dict(self.raw), sort_keys=False))
        raw.pop("work", None)
        raw.get("hub", {}).pop("store", None)
        for settings in raw["stages"].values():
            source = (settings or {}).get("source")
            if isinstance(source, str) and Path(source).is_absolute():
                settings["source"] = Path(source).name
        return yaml.safe_dump(raw, sort_keys=False, allow_unicode=True)


def load(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and put `a.b=c` overrides into it (c is read as YAML).

    Raises:
        RecipeError: the file is missing, no YAML, or has a wrong key or value; the message names it.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(f"{path}: there is no such recipe") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path.name}: not a readable YAML file: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise RecipeError(f"{path.name}: a recipe is a YAML mapping, and this is {type(raw).__name__}")
    for override in overrides:
        _override(raw, override)
    return Recipe(path, raw)


def _plain_url(url: str) -> None:
    parts = urlsplit(url)
    _ = parts.port  # raises ValueError if it is none
    if parts.scheme not in ("http", "https") or not parts.hostname or url.split() != [url]:
        raise ValueError("give an address such as http://127.0.0.1:8080")
    if parts.query or parts.fragment or parts.path.rstrip("/").endswith(ROUTES):
        raise ValueError("give the server's address without a route such as /generate")
    if parts.username or parts.password:
        raise ValueError("an address must not hold a password; put the token into ENDPOINT_TOKEN")


def _override(raw: dict[str, Any], override: str) -> None:
    keys, separator, value = override.partition("=")
    if not separator or not all(parts := keys.split(".")):
        raise RecipeError(
            f"--set {override}: write it as key.key=value, such as stages.rewrite.temperature=0.7"
        )
    place: Any = raw
    for key in parts[:-1]:
        section = {} if place.get(key) is None else place[key]
        if not isinstance(section, dict):
            raise RecipeError(f"--set {override}: {key} holds {section!r}, not a section")
        place[key] = dict(section)  # its own: a YAML alias shares it with others
        place = place[key]
    try:
        place[parts[-1]] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {override}: the value is not YAML") from error


def parse(model: type[Any], values: Mapping[str, Any], where: str, prefix: str) -> Any:
    """Build a settings model; the first thing wrong becomes one line that names the key, what it got, and the
    way out.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join([prefix, *map(str, first["loc"])] if prefix else [str(part) for part in first["loc"]])
        raise RecipeError(f"{where}: {_explain(model, key, first)}") from error


def _explain(model: type[BaseModel], key: str, error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return f"{key} is no setting{_suggest(key.rpartition('.')[2], model)}"
    if error["type"] == "missing":
        return f"{key} is missing"
    message = error["msg"].removeprefix("Value error, ")
    field = model.model_fields.get(str(error["loc"][-1])) if error["loc"] else None
    help_text = f" ({field.description})" if field and field.description else ""
    got = f" is {error['input']!r}:" if not isinstance(error["input"], dict) else ":"
    return f"{key or 'the settings'}{got} {message[:1].lower()}{message[1:]}{help_text}"


def _suggest(key: str, model: type[BaseModel]) -> str:
    elsewhere: Mapping[str, str] = getattr(model, "elsewhere", {})  # what other programs call its settings
    if key in elsewhere:
        return f"; here it is {elsewhere[key]}"
    names = list(model.model_fields)
    close = difflib.get_close_matches(key, names, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    if len(names) > MANY:
        return "; `backforth stages` and a stage's name explain all that there are"
    return f"; there are {', '.join(names)}"
