"""The README of a published dataset."""

from __future__ import annotations

from dataset_cards import frontmatter, render
from dataset_cards.facts import DatasetFacts
from dataset_cards.licenses import reason


def dataset_card(facts: DatasetFacts) -> str:
    """Return the whole README of a dataset repo, which the Hub and `datasets.load_dataset` read as it is."""
    stated = [source.license or "" for source in facts.sources] + [
        model.license or "" for model in facts.models
    ]
    body = render.render(
        "dataset.md.jinja",
        **render.common(facts),
        license_reason=reason(facts.license, facts.licenses or stated),
        funnel=render.funnel_rows(facts.funnel),
        pictures=[picture for picture in facts.pictures if picture[0] not in facts.body],
        default=_default(facts),
        empty=any(not config.rows for config in facts.configs),
    )
    return frontmatter.front_matter(_metadata(facts)) + "\n" + body


def _metadata(facts: DatasetFacts) -> dict[str, object]:
    """Return the keys of the YAML block."""
    rows = [config.rows for config in facts.configs if config.name == _default(facts)]
    return {
        "pretty_name": facts.repo.rsplit("/", 1)[-1],
        **frontmatter.license_keys(facts.license),
        "language": frontmatter.languages(facts.languages),
        "size_categories": [frontmatter.size_category(number) for number in rows],
        "task_categories": ["text-generation"],
        "source_datasets": frontmatter.source_datasets(facts.sources),
        "tags": frontmatter.tags(*(["synthetic"] if facts.synthetic else []), "instruction-tuning"),
        "configs": frontmatter.configs(facts.configs),
        "dataset_info": frontmatter.dataset_info(facts.configs),
    }


def _default(facts: DatasetFacts) -> str:
    """Return the name of the config that loads when none is named."""
    named = [config.name for config in facts.configs if config.default]
    return (named or [config.name for config in facts.configs] or [""])[0]
