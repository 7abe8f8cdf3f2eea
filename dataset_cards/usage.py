"""How a model is asked: the message that a card's snippet sends, and the source tags at its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# The paper's tags tell apart what a model learnt from; `training.views` puts them into the prompts.
SEED_TAG = "Answer in the style of an AI Assistant."
WEB_TAG = "Answer with knowledge from web search."
BOTH_TAG = "Answer in the style of an AI Assistant, with knowledge from web search if needed."
_TAGS = {
    SEED_TAG: "answers as people wrote them in the seed pairs",
    WEB_TAG: "answers as they were made from texts of the web",
    BOTH_TAG: "both at once, as the paper asks in its evaluations; no training pair has this tag",
}
_SEED_ONLY = ("train-backward", "train-forward")
_QUESTION = "Why does bread rise in the oven?"
_USER = "user: "
_LONGEST = 800  # characters of a prompt inside the snippet; of a longer one its middle is left out


@dataclass(frozen=True, slots=True)
class Usage:
    """What the snippet sends (a chat message or a whole prompt), the prompt to show, the tags it may have."""

    text: str
    shown: str
    is_chat: bool
    tags: Mapping[str, str]


def usage(stage: str, prompt: str, chat: bool = False) -> Usage:
    """Read a prompt that a model was trained on: `user: ` and a message, or text with special tokens.

    Without one, a model with a chat template (`chat`) is asked something.
    """
    if not prompt and chat:
        return Usage(_QUESTION, "", True, {})
    is_chat = prompt.startswith(_USER)
    shown = prompt.removeprefix(_USER)
    tag = next((tag for tag in _TAGS if shown.rstrip().endswith(tag)), None) if is_chat else None
    if tag is None:
        return Usage(_without_middle(shown), shown, is_chat, {})
    if stage == "train-backward":
        return Usage(_without_middle(shown), shown, is_chat, {})
    tags = {tag: _TAGS[tag]} if stage in _SEED_ONLY else _TAGS
    return Usage(f"{_QUESTION}\n\n{tag}", shown, is_chat, tags)


def _without_middle(text: str) -> str:
    """Return a text with the form of a long one, but short."""
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]} … {text[-half:]}"
