"""Response bodies and headers in TGI's shapes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from hub_tools.endpoints.server.jobs import Generated, Request, Token


def generate_answer(
    inputs: str, request: Request, generated: Generated, *, full: bool, details: bool
) -> dict[str, Any]:
    """Answer of `/generate`; with `full` the prompt stands before the answer."""
    answer: dict[str, Any] = {"generated_text": inputs + generated.text if full else generated.text}
    if details:
        answer["details"] = {
            "finish_reason": generated.finish_reason,
            "generated_tokens": generated.generated_tokens,
            "seed": request.sampling.seed if request.sampling.do_sample else None,
            "prefill": [{"id": i, "text": text, "logprob": p} for i, text, p in generated.prefill],
            "tokens": [_token(token) for token in generated.tokens],
        }
        if generated.top_tokens:
            answer["details"]["top_tokens"] = [[_token(t) for t in top] for top in generated.top_tokens]
    return answer


def chat_answer(model: str, version: str, request: Request, generated: Generated) -> dict[str, Any]:
    """Answer of `/v1/chat/completions`; TGI's finish reasons: `stop`, `length`, `stop_sequence`."""
    finish = "stop" if generated.finish_reason == "eos_token" else generated.finish_reason
    prompt, completion = len(request.prompt), generated.generated_tokens
    return {
        "object": "chat.completion",
        "id": "",
        "created": int(time.time()),
        "model": model,
        "system_fingerprint": f"{version}-backforth",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": generated.text},
                "logprobs": _chat_logprobs(generated) if request.logprobs else None,
                "finish_reason": finish,
            }
        ],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        },
    }


def headers(request: Request, generated: Generated, device: str) -> dict[str, str]:
    """TGI's response headers; times in milliseconds."""
    return {
        "x-compute-type": device,
        "x-total-time": _ms(generated.queue_seconds + generated.inference_seconds),
        "x-queue-time": _ms(generated.queue_seconds),
        "x-inference-time": _ms(generated.inference_seconds),
        "x-time-per-token": _ms(generated.inference_seconds / max(1, generated.generated_tokens)),
        "x-prompt-tokens": str(len(request.prompt)),
        "x-generated-tokens": str(generated.generated_tokens),
    }


def models_answer(names: Sequence[str]) -> dict[str, Any]:
    """Answer of `/v1/models`: the base first, then its adapters."""
    entries = [{"id": name, "object": "model", "created": 0, "owned_by": name} for name in names]
    return {"object": "list", "data": entries}


def _chat_logprobs(generated: Generated) -> dict[str, Any]:
    tops: Sequence[Sequence[Token]] = generated.top_tokens or [()] * len(generated.tokens)
    return {
        "content": [
            {
                "token": token.text,
                "logprob": token.logprob,
                "top_logprobs": [{"token": t.text, "logprob": t.logprob} for t in top],
            }
            for token, top in zip(generated.tokens, tops, strict=True)
        ]
    }


def _token(token: Token) -> dict[str, Any]:
    return {"id": token.id, "text": token.text, "logprob": token.logprob, "special": token.special}


def _ms(seconds: float) -> str:
    return str(round(seconds * 1000))
