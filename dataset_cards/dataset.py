"""A published dataset's page: its README and the pictures that it shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

from dataset_cards import frontmatter, plots, render
from dataset_cards.facts import DatasetFacts
from dataset_cards.kept import keep
from dataset_cards.lengths import Summary
from dataset_cards.limits import dataset_limits
from dataset_cards.lineage import LINEAGE, drawing

SCORES, LENGTHS, REJECTS = "pictures/scores.png", "pictures/lengths.png", "pictures/rejects.png"


def dataset_files(facts: DatasetFacts, previous_card: str | None = None) -> dict[str, bytes]:
    """Return the README and every picture by their paths in the repo.

    The passage that a person wrote into the previous card is in the new one.
    """
    drawn = {path: draw() for path, draw in _pictures(facts).items()}
    return {**facts.pictures, **drawn, "README.md": keep(previous_card, dataset_card(facts)).encode()}


def dataset_card(facts: DatasetFacts) -> str:
    """Return the whole README of a dataset repo, which the Hub and `datasets.load_dataset` read as it is."""
    rows = sum(config.rows for config in facts.configs if config.name == _default(facts))
    body = render.render(
        "dataset.md.jinja",
        **render.common(facts),
        size=f" with {rows:,} rows" if facts.configs else "",
        terms=render.terms(facts, [model.license for model in facts.models]),
        limits=dataset_limits(facts),
        funnel=render.funnel_rows(facts.funnel),
        columns=render.column_tables(facts.configs),
        chosen=[config for config in facts.configs if config.name not in (_default(facts), "rejected")],
        drawn=set(_pictures(facts)),
        own=[(path, PurePosixPath(path).stem) for path in facts.pictures if path not in facts.body],
        statistics=render.pivoted(facts.statistics),
        lengths=_lengths(facts),
        default=_default(facts),
        empty=any(not config.rows for config in facts.configs),
    )
    return frontmatter.front_matter(_metadata(facts)) + "\n" + body


def _pictures(facts: DatasetFacts) -> Mapping[str, Callable[[], bytes]]:
    """Return how each generated picture is drawn, for those that there is something to show in."""
    found: dict[str, Callable[[], bytes]] = {}
    if any(facts.scores.values()):
        found[SCORES] = lambda: plots.score_histogram(facts.scores)
    if lengths := facts.lengths:
        found[LENGTHS] = lambda: plots.length_distributions({facts.repo.rsplit("/", 1)[-1]: lengths})
    if any(facts.funnel.rejects.values()):
        found[REJECTS] = lambda: plots.reject_reasons(facts.funnel.rejects, facts.funnel.read)
    if lineage := facts.lineage:
        found[LINEAGE] = lambda: drawing(lineage).encode()
    return {path: draw for path, draw in found.items() if path not in facts.pictures}


def _lengths(facts: DatasetFacts) -> list[tuple[str, Summary]]:
    """Return the summaries of both sides of the pairs, if they were counted."""
    if facts.lengths is None:
        return []
    sides = {"Instruction": facts.lengths.instruction, "Response": facts.lengths.response}
    return [(side, lengths.summary()) for side, lengths in sides.items()]


def _metadata(facts: DatasetFacts) -> dict[str, object]:
    """Return the keys of the YAML block."""
    rows = [config.rows for config in facts.configs if config.name == _default(facts)]
    return {
        "pretty_name": facts.repo.rsplit("/", 1)[-1],
        **frontmatter.license_keys(facts.license, facts.licenses),
        "language": frontmatter.languages(facts.languages),
        "annotations_creators": ["machine-generated"] if facts.scores else [],
        "language_creators": ["machine-generated"] if facts.synthetic else [],
        "size_categories": [frontmatter.size_category(number) for number in rows],
        "task_categories": [] if facts.body else ["text-generation"],
        "source_datasets": frontmatter.source_datasets(facts.sources),
        "tags": frontmatter.tags(*(["synthetic"] if facts.synthetic else []), "instruction-tuning"),
        "configs": frontmatter.configs(facts.configs),
        "dataset_info": frontmatter.dataset_info(facts.configs),
    }


def _default(facts: DatasetFacts) -> str:
    """Return the name of the config that loads when none is named."""
    named = [config.name for config in facts.configs if config.default]
    return (named or [config.name for config in facts.configs] or [""])[0]
