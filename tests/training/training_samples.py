"""A tiny model with its own tokenizer, and pairs to train it on."""

from __future__ import annotations

from training.settings import TrainSettings
from training.views import Pair

TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message.role }}\n{{ message.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
SHA = "0123456789abcdef0123456789abcdef01234567"


def make_tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|pad|>", "<|start|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([pair.prompt[0]["content"] for pair in make_pairs(50)], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<|pad|>",
        bos_token="<|start|>",
        eos_token="<|end|>",
        model_max_length=256,
        chat_template=TEMPLATE,
    )


def make_model():
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=400,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        tie_word_embeddings=True,
        attention_dropout=0.0,
    )
    return LlamaForCausalLM(config).to(torch.bfloat16)


def make_pairs(count: int) -> list[Pair]:
    """Pairs of different lengths whose answer can be learnt."""
    return [
        Pair(
            f"pair{number:04}",
            [{"role": "user", "content": f"Count up to {number % 5} slowly" + " and well" * (number % 3)}],
            [{"role": "assistant", "content": "one " * (1 + number % 5) + "done"}],
        )
        for number in range(count)
    ]


def quick(method: str = "lora", **changes: object) -> TrainSettings:
    """Return settings of a training that takes about a second and learns."""
    few = {
        "steps": 4,
        "batch_size": 4,
        "max_length": 128,
        "learning_rate": 5e-3,
        "lora_rank": 4,
        "lora_alpha": 8,
    }
    return TrainSettings(**{"method": method} | few | changes)


def resumable(method: str) -> TrainSettings:
    """Return settings with dropout on, which only a restored random state repeats; a checkpoint every 2."""
    return quick(method, steps=6, save_steps=2, attention_dropout=0.2, lora_dropout=0.2)
