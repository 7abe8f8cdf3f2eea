"""A tiny model with its own tokenizer, and pairs to train it on."""

from __future__ import annotations

import json
from pathlib import Path

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
    texts = [pair.prompt[0]["content"] + "    " + pair.completion[0]["content"] for pair in make_pairs(50)]
    bpe.train_from_iterator(texts, trainer)
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


def write_gguf(folder: Path, path: Path, pre: str, broken: bool = False) -> Path:
    """Write the model and tokenizer of `folder` as a GGUF file in bfloat16, the way llama.cpp lays it out."""
    import torch
    from gguf import GGMLQuantizationType, GGUFWriter
    from safetensors.torch import load_file

    path.parent.mkdir(parents=True)
    writer = GGUFWriter(path, "llama")
    writer.add_name("Tiny")
    writer.add_context_length(256)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(128)
    writer.add_block_count(2)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_vocab_size(400)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    add_tokenizer(writer, folder, pre)
    for name, tensor in load_file(folder / "model.safetensors").items():
        if broken and name == "model.norm.weight":
            tensor[0] = float("inf")
        heads = {"q_proj": 4, "k_proj": 2}.get(name.split(".")[-2])
        array = interleave(tensor.float(), heads) if heads else tensor.float()
        if array.ndim == 1:
            writer.add_tensor(gguf_name(name), array.numpy())
        else:
            raw = array.to(torch.bfloat16).view(torch.int16).numpy().view("uint8")
            writer.add_tensor(gguf_name(name), raw, raw_dtype=GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add_tokenizer(writer, folder: Path, pre: str) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    tokens = sorted(vocabulary, key=vocabulary.get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token.startswith("<|") else 1 for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in content["model"]["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    writer.add_chat_template(TEMPLATE)


def interleave(tensor, heads: int):
    """Order the rows of a query or key projection as llama.cpp's rotary embedding takes them."""
    rows, columns = tensor.shape
    return (
        tensor.view(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns).contiguous()
    )


def gguf_name(name: str) -> str:
    parts = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "model.layers.": "blk.",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    for ours, theirs in parts.items():
        name = name.replace(ours, theirs)
    return name
