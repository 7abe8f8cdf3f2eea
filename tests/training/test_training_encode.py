from __future__ import annotations

import pytest
from transformers import AutoTokenizer

from training.encode import IGNORED, encode_pair, encode_pairs
from training.errors import TrainingError
from training.publish import Base
from training.views import SEED_TAG, WEB_TAG, Pair, backward_pair, forward_pair

ROLES = {
    "backward": backward_pair(lambda _, response, tag: f"{response} {tag}", "b", "Say hello", "Hello there"),
    "forward": forward_pair("f", "Say hello", "Hello there", SEED_TAG),
    "final": forward_pair("x", "Say hello", "Hello from the web", WEB_TAG),
}
OTHER_TEMPLATES = {
    "without an end token": "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}",
    "with a system prompt": "<|start|>system\nBe brief<|end|>\n{% for m in messages %}<|start|>{{ m.role }}\n"
    "{{ m.content }}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% endif %}",
}


@pytest.fixture(scope="module")
def tokenizer(base: Base):
    return AutoTokenizer.from_pretrained(base.path)


@pytest.mark.parametrize("role", ROLES)
def test_only_the_completion_and_its_end_token_are_trained(tokenizer, role: str):
    pair = ROLES[role]
    example = encode_pair(tokenizer, pair, 256)
    trained = [label for label in example.labels if label != IGNORED]
    assert tokenizer.decode(trained) == pair.completion[0]["content"] + "<|end|>"
    assert trained == example.input_ids[-len(trained) :]
    prompt = tokenizer.apply_chat_template(pair.prompt, add_generation_prompt=True, return_dict=True)[
        "input_ids"
    ]
    assert example.input_ids[: -len(trained)] == prompt


@pytest.mark.parametrize("template", OTHER_TEMPLATES)
def test_every_template_ends_in_one_trained_end_token(
    tokenizer, template: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tokenizer, "chat_template", OTHER_TEMPLATES[template])
    example = encode_pair(tokenizer, ROLES["forward"], 256)
    trained = [label for label in example.labels if label != IGNORED]
    assert trained[-1] == tokenizer.eos_token_id
    assert trained.count(tokenizer.eos_token_id) == 1
    assert tokenizer.decode(trained).startswith("Hello there")


def test_a_long_completion_is_cut_and_keeps_no_end_token(tokenizer):
    pair = forward_pair("long", "Say", "word " * 300, SEED_TAG)
    example = encode_pair(tokenizer, pair, 100)
    assert example.truncated
    assert len(example.input_ids) == len(example.labels) == 100
    assert tokenizer.eos_token_id not in [label for label in example.labels if label != IGNORED]


def test_a_pair_is_dropped_exactly_where_its_prompt_leaves_no_room(tokenizer):
    pair = ROLES["forward"]
    whole = encode_pair(tokenizer, pair, 256)
    prompt = whole.labels.count(IGNORED)
    assert encode_pair(tokenizer, pair, prompt) is None
    assert encode_pair(tokenizer, pair, prompt + 1).labels.count(IGNORED) == prompt
    assert not encode_pair(tokenizer, pair, len(whole.input_ids)).truncated
    assert encode_pair(tokenizer, pair, len(whole.input_ids) - 1).truncated


def test_dropped_and_cut_pairs_are_counted(tokenizer):
    pairs = [
        ROLES["forward"],
        forward_pair("cut", "Say", "word " * 300, SEED_TAG),
        forward_pair("dropped", "Say " * 300, "word", SEED_TAG),
    ]
    encoded = encode_pairs(tokenizer, pairs, 128)
    assert [example.id for example in encoded.examples] == ["f", "cut"]
    assert encoded.truncated == 1
    assert encoded.dropped == [("dropped", "prompt_too_long")]


def test_a_base_without_a_chat_template_is_refused_with_the_way_out(
    tokenizer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tokenizer, "chat_template", None)
    with pytest.raises(TrainingError, match="set chat_template"):
        encode_pairs(tokenizer, [Pair("a", [], [])], 10)
