from __future__ import annotations

from training.views import (
    EVAL_TAG,
    SEED_TAG,
    WEB_TAG,
    backward_pair,
    backward_prompt,
    forward_pair,
    forward_prompt,
)


def render(template: str, **variables: str) -> str:
    return f"{template}: {variables['response']} | {variables['tag']}"


def test_the_backward_view_asks_for_the_instruction():
    pair = backward_pair(render, "a1", "Bake bread", "Take flour.")
    assert pair.id == "a1"
    assert pair.prompt == [{"role": "user", "content": f"backward: Take flour. | {SEED_TAG}"}]
    assert pair.completion == [{"role": "assistant", "content": "Bake bread"}]
    assert pair.prompt == backward_prompt(render, "Take flour.")


def test_the_forward_view_asks_for_the_response_under_its_sources_tag():
    pair = forward_pair("a1", "Bake bread", "Take flour.", WEB_TAG)
    assert pair.prompt == forward_prompt("Bake bread", WEB_TAG)
    assert pair.prompt[0]["content"].startswith("Bake bread")
    assert pair.prompt[0]["content"].endswith(WEB_TAG)
    assert pair.completion == [{"role": "assistant", "content": "Take flour."}]


def test_the_tags_are_the_papers():
    assert SEED_TAG == "Answer in the style of an AI Assistant."
    assert WEB_TAG == "Answer with knowledge from web search."
    assert EVAL_TAG == "Answer in the style of an AI Assistant, with knowledge from web search if needed."
