"""What a card's reader must not expect: sentences (prose) that follow from the facts."""

from __future__ import annotations

from collections.abc import Sequence

from dataset_cards.facts import DatasetFacts, ModelFacts


def dataset_limits(facts: DatasetFacts) -> list[str]:
    """Return the known limits of a dataset."""
    found = []
    if facts.synthetic:
        found.append(
            "Language models wrote a part of this text. It may be wrong, made up or one-sided, however sure "
            "it sounds, and nobody has checked its facts."
        )
    if facts.configs and not facts.body:
        found.append(
            "The texts were chosen by rules and by models, not read one by one. They may hold personal data, "
            "prejudice, offence, or works that belong to others."
        )
    if facts.scores:
        found.append(
            "A score is the opinion of a model, asked once for each pair. It says how the model reads its "
            "scale, and has not been compared with the scores that people would give."
        )
    pairs = facts.lengths.response.counts.total() if facts.lengths else 0
    if (
        pairs < max((config.rows for config in facts.configs if config.name != "rejected"), default=0)
        and pairs
    ):
        found.append(f"Token lengths are those of a random sample of {pairs:,} pairs.")
    return found


def model_limits(facts: ModelFacts) -> list[str]:
    """Return the known limits of a model."""
    found = [
        "What the model writes may be wrong, made up, prejudiced or offensive. It has learnt from text of "
        "the web or of other models, and nothing was done here to make it refuse harmful requests.",
        "It can repeat parts of what it was trained on, personal data included.",
    ]
    if not facts.evaluations:
        found.append("It has not been evaluated: no number on this page says how good its answers are.")
    if facts.languages and facts.losses:
        found.append(f"It was trained here on pairs in these languages only: {_listed(facts.languages)}.")
    return found


def _listed(names: Sequence[str]) -> str:
    """Return names as code in a row."""
    return ", ".join(f"`{name}`" for name in names)
