"""The README of a published model or adapter."""

from __future__ import annotations

from dataset_cards import frontmatter, numbers, render
from dataset_cards.facts import ModelFacts
from dataset_cards.licenses import reason

_SHORT_PROMPT = 600  # characters: a longer prompt is shown, but not repeated inside the code


def model_card(facts: ModelFacts) -> str:
    """Return the whole README of a model repo, adapter or full weights."""
    stated = facts.licenses or [source.license or "" for source in facts.sources]
    body = render.render(
        "model.md.jinja",
        **render.common(facts),
        license_reason=reason(facts.license, stated) if stated else "",
        curve=numbers.curve(facts.losses),
        sparkline=numbers.sparkline([loss for _, loss in facts.losses]) if len(facts.losses) > 2 else "",
        prompt=facts.example_prompt if len(facts.example_prompt) <= _SHORT_PROMPT else "",
        base=frontmatter.repo_id(facts.base),
    )
    return frontmatter.front_matter(_metadata(facts)) + "\n" + body


def _metadata(facts: ModelFacts) -> dict[str, object]:
    """Return the keys of the YAML block."""
    adapter = facts.relation == "adapter"
    return {
        **frontmatter.license_keys(facts.license),
        "language": frontmatter.languages(facts.languages),
        "library_name": "peft" if adapter else facts.library,
        "pipeline_tag": "text-generation",
        **frontmatter.base_keys(facts),
        "datasets": frontmatter.source_datasets(facts.sources),
        "tags": frontmatter.tags("sft", "trl", *(["lora"] if adapter else [])),
        "model_name": facts.repo.rsplit("/", 1)[-1],
    }
