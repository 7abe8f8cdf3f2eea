from __future__ import annotations

import pytest
from transformers import AutoTokenizer

from training.encode import IGNORED, encode_pair, encode_pairs, encode_prompt
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
    "with an empty thought before the last answer": "{% for m in messages %}<|start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% endif %}",
    "that opens a thought in the prompt": "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}"
    "<|end|>\n{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n<think>\n{% endif %}",
    "that strips": "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}",
    "without a prompt's end": "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}",
}
ANSWERS = ["Hello there", " Hello", "</think> then", "<|end|> it", "\u0301 naïve 東京 🙂", "\tdef f():"]


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


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("template", OTHER_TEMPLATES)
def test_nothing_but_the_answer_follows_the_prompt_of_an_endpoint(
    tokenizer, template: str, answer: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tokenizer, "chat_template", OTHER_TEMPLATES[template])
    pair = forward_pair("f", "Say hello", answer, SEED_TAG)
    example = encode_pair(tokenizer, pair, 256)
    prompt = encode_prompt(tokenizer, pair)
    assert example.input_ids[: len(prompt)] == prompt
    trained = tokenizer.decode(example.input_ids[len(prompt) :])
    wanted = answer.strip() if template == "that strips" else answer
    assert trained.replace("\n<|end|>", "<|end|>") == wanted + "<|end|>"


@pytest.mark.parametrize("ending", [" [/INST]", "\nassistant: ", "\n", ":"])
def test_a_tokenizer_whose_tokens_begin_with_blanks_gets_the_answer_once(sentencepiece, ending: str):
    between = " " if ending.endswith("]") else ""
    sentencepiece.chat_template = (
        "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token }}[INST] {{ m.content }}" + ending
        + "{% else %}" + between + "{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
    )  # fmt: skip
    pair = forward_pair("f", "Count up", "one two done", SEED_TAG)
    example = encode_pair(sentencepiece, pair, 256)
    pieces = "".join(sentencepiece.convert_ids_to_tokens(example.input_ids)).replace("<0x0A>", "\n")
    prompt = f"<s>[INST] {pair.prompt[0]['content']}{ending}"
    assert pieces.removeprefix("<s>▁") == (prompt + between + "one two done</s>")[3:].replace(" ", "▁")
    assert example.input_ids[: example.labels.count(IGNORED)] == encode_prompt(sentencepiece, pair)


@pytest.fixture
def sentencepiece():
    """A tokenizer laid out as Llama-2's: a blank becomes the first character of a word, bytes others."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    bpe.pre_tokenizer = pre_tokenizers.Metaspace()  # for its training alone
    trained = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(special_tokens=["<unk>", "<s>", "</s>", *trained], show_progress=False)
    bpe.train_from_iterator([f"Count up assistant: one two done [INST] [/INST] {SEED_TAG}"] * 3, trainer)
    bpe.pre_tokenizer = None
    bpe.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    bpe.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{% for m in messages %}{{ raise_exception('No') }}{% endfor %}", "does not take the pair f: No"),
        ("{{ messages[0].content }}", "leaves the assistant's answer out"),
        ("{% for m in messages %}", "does not take the pair f: "),
    ],
)
def test_a_template_that_makes_no_chat_of_a_pair_is_told_in_one_line(
    tokenizer, template: str, words: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tokenizer, "chat_template", template)
    with pytest.raises(TrainingError, match=words) as caught:
        encode_pair(tokenizer, ROLES["forward"], 256)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_without_an_end_of_sequence_token_is_refused(base: Base):
    tokenizer = AutoTokenizer.from_pretrained(base.path)
    tokenizer.eos_token = None
    with pytest.raises(TrainingError, match="no end-of-sequence token"):
        encode_pairs(tokenizer, [ROLES["forward"]], 256)


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
