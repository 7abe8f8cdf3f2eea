"""The YAML block at the top of a card, by the Hub's rules for its keys and values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence

import yaml

from dataset_cards.facts import Config, ModelFacts, Source
from dataset_cards.licenses import HUB_IDS, known, link

_LANGUAGE = re.compile(r"[a-z]{2,3}")
_REPO = re.compile(r"[\w-][\w.-]{0,95}(/[\w-][\w.-]{0,95})?", re.ASCII)
_DATASET_URI = re.compile(r"hf://datasets/([^/@\s]+/[^/@\s]+)(?:@|/|$)")
_PINNED = re.compile(r"hf://(?P<kind>datasets/)?(?P<repo>[\w.-]+/[\w.-]+)@(?P<sha>[0-9a-f]{40})", re.ASCII)
_PAPER_TAGS = ["backforth", "instruction-backtranslation", "arxiv:2408.04614"]


def front_matter(data: Mapping[str, object]) -> str:
    """Return the YAML block of a card, with its two rulers; keys without a value are left out."""
    filled = {key: plain(value) for key, value in data.items() if value not in (None, "", [], {})}
    # Endless lines and ASCII only: no wrapped scalar begins a line, no odd line end is left bare.
    text = yaml.safe_dump(filled, sort_keys=False, allow_unicode=False, width=float("inf"))
    return f"---\n{text}---\n"


def plain(value: object) -> object:
    """Return the value as the dicts, lists and scalars that `yaml.safe_dump` takes."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)


def license_keys(name: str, made_of: Sequence[str] = ()) -> dict[str, object]:
    """Return the licence as the Hub takes it: one of its own ids, else `other` with a name and an address.

    `other` by itself is named after the one licence in `made_of` that is not known, if it is one.
    """
    found = known(name) or name.strip().lower()
    if found in HUB_IDS - {"other"}:
        return {"license": found}
    strange = [part for part in made_of if known(part) is None and part.strip().lower() not in ("", *HUB_IDS)]
    if found == "other" and len(strange) == 1:
        name = strange[0]
    slug = re.sub(r"[^a-z0-9.]+", "-", re.sub(r"https?://", "", name.strip().lower())).strip("-.")
    return {
        "license": "other",
        "license_name": "" if slug == "other" else slug[:60],
        "license_link": link(name),
    }


def languages(codes: Iterable[str]) -> list[str]:
    """Return the ISO 639 codes among the languages, each once, without a region (`en-US` is `en`)."""
    short = (code.strip().lower().replace("_", "-").split("-")[0] for code in codes)
    return list(dict.fromkeys(code for code in short if _LANGUAGE.fullmatch(code)))


def size_category(rows: int) -> str:
    """Return the Hub's bucket for a number of rows, such as `1K<n<10K`."""
    bounds = ["1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T"]
    passed = sum(rows >= 10 ** (3 + at) for at in range(len(bounds)))
    if passed == 0:
        return "n<1K"
    return "n>1T" if passed == len(bounds) else f"{bounds[passed - 1]}<n<{bounds[passed]}"


def repo_id(name: str | None) -> str | None:
    """Return the name if it can be a repo of the Hub, None for a local path or anything else."""
    return name if name and _REPO.fullmatch(name) and ".." not in name and "--" not in name else None


def page(uri: str) -> str:
    """Return where a Hub shows a repo at a commit (`hf://…@sha`), without its host; empty for others."""
    match = _PINNED.fullmatch(uri)
    if not match or not repo_id(match["repo"]):
        return ""
    return f"/{match['kind'] or ''}{match['repo']}/tree/{match['sha']}"


def source_datasets(sources: Iterable[Source]) -> list[str]:
    """Return the dataset repos among the sources, each once."""
    found = (_DATASET_URI.match(source.uri) for source in sources)
    return list(dict.fromkeys(match[1] for match in found if match and repo_id(match[1])))


def tags(*more: str) -> list[str]:
    """Return the tags that every card of this package has, and those given."""
    return [*_PAPER_TAGS, *more]


def configs(found: Sequence[Config]) -> list[dict[str, object]]:
    """Return the `configs` key: where each config's Parquet lies; the first is the default if none is."""
    default = next((config.name for config in found if config.default), found[0].name if found else "")
    return [
        {
            "config_name": config.name,
            "data_files": [{"split": "train", "path": f"data/{config.name}/*.parquet"}],
            **({"default": True} if config.name == default else {}),
        }
        for config in found
    ]


def dataset_info(found: Sequence[Config]) -> list[dict[str, object]]:
    """Return the `dataset_info` key: features, rows and bytes (as stored) of each config."""
    return [
        {
            "config_name": config.name,
            "features": config.features,
            "splits": [{"name": "train", "num_bytes": config.bytes, "num_examples": config.rows}],
            "download_size": config.bytes,
            "dataset_size": config.bytes,
        }
        for config in found
    ]


def base_keys(facts: ModelFacts) -> dict[str, object]:
    """Return what a model was made from, where that is a repo of the Hub."""
    base = repo_id(facts.base)
    return {"base_model": base, "base_model_relation": facts.relation if base else None}


def model_index(facts: ModelFacts) -> list[dict[str, object]]:
    """Return the `model-index` key: every finite number that was measured, by task and dataset."""
    found: dict[tuple[str, str], list[dict[str, object]]] = {}
    for item in facts.evaluations:
        if math.isfinite(item.value):
            metric = {"type": _slug(item.metric), "name": item.metric, "value": item.value}
            found.setdefault((item.task, item.dataset), []).append(metric)
    results = [
        {
            "task": {"type": "text-generation", "name": task},
            "dataset": {
                "type": (repo_id(dataset) if "/" in dataset else None) or _slug(dataset),
                "name": dataset,
            },
            "metrics": metrics,
        }
        for (task, dataset), metrics in found.items()
    ]
    return [{"name": facts.repo.rsplit("/", 1)[-1], "results": results}] if results else []


def _slug(name: str) -> str:
    """Return a name as an id of small letters, digits and underscores."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "unnamed"
