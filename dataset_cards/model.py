"""A published model's page: its README and the pictures that it shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dataset_cards import frontmatter, numbers, plots, render
from dataset_cards.facts import ModelFacts
from dataset_cards.kept import keep
from dataset_cards.limits import model_limits
from dataset_cards.lineage import LINEAGE, drawing
from dataset_cards.usage import usage

LOSS = "pictures/loss.png"


def model_files(facts: ModelFacts, previous_card: str | None = None) -> dict[str, bytes]:
    """Return the README and every picture by their paths in the repo.

    The passage that a person wrote into the previous card is in the new one.
    """
    drawn = {path: draw() for path, draw in _pictures(facts).items()}
    return {**drawn, "README.md": keep(previous_card, model_card(facts)).encode()}


def model_card(facts: ModelFacts) -> str:
    """Return the whole README of a model repo, adapter or full weights."""
    body = render.render(
        "model.md.jinja",
        **render.common(facts),
        terms=render.terms(facts),
        limits=model_limits(facts),
        drawn=set(_pictures(facts)),
        curve=numbers.curve(facts.losses),
        usage=usage(facts.stage, facts.example_prompt, facts.chat),
        base=frontmatter.repo_id(facts.base),
    )
    return frontmatter.front_matter(_metadata(facts)) + "\n" + body


def _pictures(facts: ModelFacts) -> Mapping[str, Callable[[], bytes]]:
    """Return how each generated picture is drawn, for those that there is something to show in."""
    found: dict[str, Callable[[], bytes]] = {}
    if len(facts.losses) > 1:
        found[LOSS] = lambda: plots.loss_curve(facts.losses, facts.held_out)
    if lineage := facts.lineage:
        found[LINEAGE] = lambda: drawing(lineage).encode()
    return found


def _metadata(facts: ModelFacts) -> dict[str, object]:
    """Return the keys of the YAML block."""
    adapter = facts.relation == "adapter"
    return {
        **frontmatter.license_keys(facts.license, facts.licenses),
        "language": frontmatter.languages(facts.languages),
        "library_name": "peft" if adapter else facts.library,
        "pipeline_tag": "text-generation",
        **frontmatter.base_keys(facts),
        "datasets": frontmatter.source_datasets(facts.sources),
        "tags": frontmatter.tags(*(["sft", "trl"] if facts.losses else []), *(["lora"] if adapter else [])),
        "model-index": frontmatter.model_index(facts),
    }
