"""A tiny model that was taught to answer anything with a short sentence and to stop then."""

from __future__ import annotations

from pathlib import Path


def teach(folder: Path) -> Path:
    """Train a tiny random Llama for a few seconds; return the folder of the model, which loads with
    from_pretrained.
    """
    from training_samples import SHA, make_model, make_tokenizer

    from training.publish import Base
    from training.settings import TrainSettings
    from training.sft import train
    from training.views import Pair

    base = folder / "base"
    tokenizer, model = make_tokenizer(), make_model().float()
    tokenizer.model_max_length = model.config.max_position_embeddings = 4096  # room for the judge's prompt
    tokenizer.save_pretrained(base)
    model.save_pretrained(base)
    questions = [
        "Write one question",
        "You rate how well",
        "Improve the draft",
        "Count up to",
        "Page about tea",
    ]
    answers = ["How do I count up to five?", "one two three done", "Say it well, please.", "What is tea?"]
    pairs = [
        Pair(
            f"p{number}",
            [{"role": "user", "content": f"{question} {'and on ' * (number % 7)}"}],
            [{"role": "assistant", "content": answers[number % len(answers)]}],
        )
        for number, question in enumerate(questions * 8)
    ]
    settings = TrainSettings(method="full", learning_rate=5e-3, steps=60, batch_size=8, max_length=128)
    trained = train(settings, pairs, Base(base, "demo/taught", SHA), folder / "work", threads=1)
    return trained.folder
