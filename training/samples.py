"""What the model answers to held-out prompts while it is trained: read by people, and trusted by nobody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from training.encode import encode_prompt
from training.views import Pair


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer after a step, beside the held-out pair that it can be compared with; untrusted text."""

    step: int
    id: str
    prompt: str
    reference: str
    answer: str


class Sampler:
    """Asks the model the same few prompts each time, greedily, so that only the model makes a difference."""

    def __init__(self, tokenizer: Any, pairs: list[Pair], longest: int) -> None:
        self.tokenizer = tokenizer
        self.prompts = {pair.id: encode_prompt(tokenizer, pair) for pair in pairs}
        self.references = {pair.id: _text(pair.completion) for pair in pairs}
        self.longest = longest

    def answers(self, model: Any) -> dict[str, str]:
        """Return the answer to each prompt by the pair's id; every process of several must ask."""
        training = model.training
        model.eval()
        try:
            return {id_: self._answer(model, prompt) for id_, prompt in self.prompts.items()}
        finally:
            model.train(training)

    def _answer(self, model: Any, prompt: list[int]) -> str:
        import torch

        ids = torch.tensor([prompt], device=model.device)
        with torch.no_grad(), torch.autocast(ids.device.type, torch.bfloat16, ids.device.type == "cuda"):
            written = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=self.longest,
                do_sample=False,
                use_cache=True,
                pad_token_id=self.tokenizer.pad_token_id or self.tokenizer.eos_token_id,
            )
        text: str = self.tokenizer.decode(written[0, len(prompt) :], skip_special_tokens=True)
        return text


def told(history: list[dict[str, Any]], pairs: list[Pair]) -> list[Sample]:
    """Return the samples that a trainer's log holds, each with the text of its pair."""
    known = {pair.id: pair for pair in pairs}
    return [
        Sample(entry["step"], id_, _text(known[id_].prompt), _text(known[id_].completion), answer)
        for entry in history
        for id_, answer in entry.get("samples", {}).items()
        if id_ in known
    ]


def quoted(text: str, longest: int = 60) -> str:
    """Return the beginning of a text on one line, in quotes."""
    line = " ".join(text.split())
    return f'"{line}"' if len(line) <= longest else f'"{line[:longest].rstrip()} …"'


def _text(messages: Any) -> str:
    return "\n\n".join(message["content"] for message in messages)
