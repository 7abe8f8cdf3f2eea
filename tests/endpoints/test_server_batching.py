from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from time import sleep
from typing import Any

import pytest
from server_support import BASE, Caller, Tiny

PROMPTS = ["hello world", "Score: 1 Score: 5 the judge gives", "a", "café 日本 😀 über world " * 6]
ADAPTERS = [None, "org/backward", "forward.v2"]


def _text(endpoint: Caller, prompt: str, adapter: str | None, length: int) -> str:
    reply = endpoint.generate(prompt, max_new_tokens=length, adapter_id=adapter)
    assert reply.status == 200, reply.body
    text: str = reply.body["generated_text"]
    return text


def _references(tiny_model: Tiny, adapter: str | None, prompts: list[str], length: int) -> list[str]:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model.base)
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_model.base)
    if adapter:
        model = PeftModel.from_pretrained(model, tiny_model.adapters[adapter])
    texts = []
    for prompt in prompts:
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        with torch.inference_mode():
            out = model.generate(input_ids=ids, max_new_tokens=length, do_sample=False)
        texts.append(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))
    return texts


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_answers_are_those_of_transformers(endpoint: Caller, tiny_model: Tiny, adapter: str | None) -> None:
    answers = [_text(endpoint, prompt, adapter, 24) for prompt in PROMPTS]
    assert answers == _references(tiny_model, adapter, PROMPTS, 24)


def test_adapters_answer_differently_from_their_base(endpoint: Caller) -> None:
    assert len({_text(endpoint, PROMPTS[1], adapter, 24) for adapter in ADAPTERS}) == 3


def test_mixed_batch_gives_what_each_request_gets_alone(endpoint: Caller) -> None:
    wanted = [(p, a, 20 + 7 * i) for i, p in enumerate(PROMPTS) for a in ADAPTERS]
    alone = [_text(endpoint, *request) for request in wanted]
    with ThreadPoolExecutor(len(wanted)) as pool:
        together = list(pool.map(lambda request: _text(endpoint, *request), wanted))
    assert together == alone


def test_requests_that_join_a_running_batch_get_what_they_get_alone(endpoint: Caller) -> None:
    alone = {(p, n): _text(endpoint, p, "org/backward", n) for p in PROMPTS for n in (120, 9, 40)}
    with ThreadPoolExecutor(len(alone)) as pool:
        answers = {}
        for key in alone:
            answers[key] = pool.submit(_text, endpoint, key[0], "org/backward", key[1])
            sleep(0.02)
        assert {key: answer.result() for key, answer in answers.items()} == alone


def test_chat_names_its_adapter_by_model(endpoint: Caller) -> None:
    names = ["tgi", BASE, "org/backward", "forward.v2"]
    replies = [endpoint.chat("hello", model=name, temperature=0, max_tokens=16).body for name in names]
    texts = [reply["choices"][0]["message"]["content"] for reply in replies]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 3
    assert [reply["model"] for reply in replies] == [BASE, BASE, "org/backward", "forward.v2"]
