"""A tiny model, two adapters of it, and a real server process that serves them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from server_support import BASE, ENVIRONMENT, Caller, Tiny

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    text = ["The judge gives a score from one to five. Score: 1 Score: 5 hello world café über 日本 😀\n"] * 4
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=specials, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    core.train_from_iterator(text, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        bos_token="<|im_start|>",
        chat_template=TEMPLATE,
    )


def _base(folder: Path) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer) + 3,  # padded, as real models are
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.3,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _adapter(base: Path, folder: Path, seed: int, *, trained_on: str, **settings: Any) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    network = AutoModelForCausalLM.from_pretrained(base)
    model = get_peft_model(network, LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **settings))
    model.peft_config["default"].base_model_name_or_path = trained_on
    model.save_pretrained(folder, save_embedding_layers=False)  # else the base is looked for on the Hub


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("tiny")
    _base(folder / "base")
    wide = {"r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "k_proj", "v_proj", "up_proj"]}
    narrow = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"]}
    _adapter(folder / "base", folder / "backward", 1, trained_on=BASE, **wide)
    _adapter(folder / "base", folder / "forward.v2", 2, trained_on=BASE, **narrow)
    _adapter(folder / "base", folder / "alien", 3, trained_on="somebody/else", **narrow)
    torch.set_num_threads(threads)
    adapters = {"org/backward": str(folder / "backward"), "forward.v2": str(folder / "forward.v2")}
    return Tiny(folder / "base", adapters, folder / "alien")


@pytest.fixture(scope="session")
def endpoint(tiny_model: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    from hub_tools.endpoints.server import ServerOptions
    from hub_tools.endpoints.server.process import EndpointProcess

    options = ServerOptions(
        model=str(tiny_model.base), model_id=BASE, adapters=tiny_model.adapters, max_batch_size=4, threads=1
    )
    log = tmp_path_factory.mktemp("server") / "server.log"
    with EndpointProcess.start(options, ENVIRONMENT, log) as process:
        yield Caller(process.url)
