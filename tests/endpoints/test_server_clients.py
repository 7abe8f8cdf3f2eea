from __future__ import annotations

import pytest
from server_support import Caller


def test_text_generation_of_huggingface_hub(endpoint: Caller) -> None:
    from huggingface_hub import InferenceClient

    client = InferenceClient(base_url=endpoint.url)
    details = client.text_generation("hello world", max_new_tokens=6, details=True, top_n_tokens=2)
    assert details.generated_text == client.text_generation("hello world", max_new_tokens=6)
    assert details.details.generated_tokens == len(details.details.tokens) == 6
    other = client.text_generation("hello world", max_new_tokens=6, adapter_id="org/backward")
    assert other != details.generated_text


def test_chat_completion_of_huggingface_hub(endpoint: Caller) -> None:
    from huggingface_hub import InferenceClient

    client = InferenceClient(base_url=endpoint.url)
    answer = client.chat_completion(
        [{"role": "user", "content": "hello"}], max_tokens=5, temperature=0, logprobs=True, top_logprobs=1
    )
    assert answer.usage.completion_tokens == 5
    assert answer.choices[0].logprobs is not None
    assert answer.choices[0].message.content is not None


def test_errors_arrive_as_the_hubs_own(endpoint: Caller) -> None:
    from huggingface_hub import InferenceClient
    from huggingface_hub.inference._common import ValidationError

    client = InferenceClient(base_url=endpoint.url)
    with pytest.raises(ValidationError, match="top_p"):
        client.text_generation("hello", top_p=1.0, do_sample=True)
