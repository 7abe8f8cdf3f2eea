"""Answers of TGI's own routes, and the headers of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hub_tools.endpoints.server.jobs import Answered, Generated, Step, Token


def generate_answer(inputs: str, answered: Answered, *, full: bool, details: bool) -> dict[str, Any]:
    """Answer of `/generate`; with `full` the prompt stands before the answer."""
    before = inputs if full else ""
    answer: dict[str, Any] = {"generated_text": before + answered.best.text}
    if details:
        answer["details"] = _details(answered.best)
        if answered.others:
            answer["details"]["best_of_sequences"] = [
                {"generated_text": before + other.text, **_details(other)} for other in answered.others
            ]
    return answer


def stream_step(index: int, step: Step) -> dict[str, Any]:
    """One event of `/generate_stream`; they are counted from 1."""
    event = {"index": index, "token": _token(step.token), "generated_text": None, "details": None}
    return {**event, "top_tokens": [_token(token) for token in step.top]} if step.top else event


def stream_end(index: int, inputs: str, answered: Answered, *, full: bool, details: bool) -> dict[str, Any]:
    """The last event of `/generate_stream`, with the last token and the whole text."""
    generated = answered.best
    assert generated.last is not None
    event = stream_step(index, generated.last)
    event["generated_text"] = inputs + generated.text if full else generated.text
    if details:
        event["details"] = {
            "finish_reason": generated.finish_reason,
            "generated_tokens": generated.generated_tokens,
            "seed": generated.seed,
            "input_length": len(answered.request.prompt),
        }
    return event


def headers(answers: Sequence[Answered], device: str) -> dict[str, str]:
    """TGI's response headers, summed over several answers; `x-compute-time` is in seconds, the rest in ms."""
    total = sum(answered.total_seconds for answered in answers)
    inference = sum(answered.best.inference_seconds for answered in answers)
    generated = sum(answered.best.generated_tokens for answered in answers)
    return {
        **stream_headers(sum(answered.request.characters for answered in answers), device),
        "x-compute-time": f"{total:.6f}",
        "x-total-time": _ms(total),
        "x-validation-time": _ms(sum(answered.validation_seconds for answered in answers)),
        "x-queue-time": _ms(sum(answered.best.queue_seconds for answered in answers)),
        "x-inference-time": _ms(inference),
        "x-time-per-token": _ms(inference / max(1, generated)),
        "x-prompt-tokens": str(sum(len(answered.request.prompt) for answered in answers)),
        "x-generated-tokens": str(generated),
    }


def stream_headers(characters: int, device: str) -> dict[str, str]:
    """The headers that are known before the answer is."""
    return {"x-compute-type": device, "x-compute-characters": str(characters)}


def _details(generated: Generated) -> dict[str, Any]:
    details: dict[str, Any] = {
        "finish_reason": generated.finish_reason,
        "generated_tokens": generated.generated_tokens,
        "seed": generated.seed,
        "prefill": [{"id": i, "text": text, "logprob": p} for i, text, p in generated.prefill],
        "tokens": [_token(token) for token in generated.tokens],
    }
    if generated.top_tokens:
        details["top_tokens"] = [[_token(token) for token in top] for top in generated.top_tokens]
    return details


def _token(token: Token) -> dict[str, Any]:
    return {"id": token.id, "text": token.text, "logprob": token.logprob, "special": token.special}


def _ms(seconds: float) -> str:
    return str(round(seconds * 1000))
