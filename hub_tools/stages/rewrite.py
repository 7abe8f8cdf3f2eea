"""The rewriting stage: an aligned model turns each kept web text into an assistant's answer."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field

from hub_tools.records import Messages, Rewritten, Scored
from hub_tools.stages.registry import Answer, Ask, AskConfig, Input, Reject, Render, carry, stage

START, END = "[RES]", "[/RES]"
LEFTOVER = re.compile(r"\[/?RES\]")


class RewriteConfig(AskConfig):
    """Settings of rewriting (paper, section 2.2: T = 1.0, top-p = 0.9, answers between [RES] and [/RES])."""

    max_new_tokens: int = Field(
        1024, ge=1, description="Longest rewritten response, in tokens of the rewriting model."
    )
    attempts: int = Field(3, ge=1, le=20, description="How often a pair is asked until its answer parses.")
    marks: Literal["required", "none"] = Field(
        "required",
        description="Ask for the answer between [RES] and [/RES]; `none` takes the whole answer, "
        "for small models.",
    )


@stage(
    "rewrite",
    repo="rewritten",
    reads={"pairs": Input(Scored, "curate/kept")},
    writes=Rewritten,
    asks="rewriter",
    prompts=("rewrite",),
)
def rewrite(config: RewriteConfig, render: Render) -> Ask[Scored, Rewritten]:
    """Kept pairs whose response an aligned model improved, given the instruction and the web text.

    The web text stays beside the answer, in the column `draft`.
    """
    marks = config.marks == "required"

    def prompt(row: Scored) -> Messages:
        content = render(
            "rewrite", instruction=row.instruction, draft=row.response, marks="yes" if marks else ""
        )
        return [{"role": "user", "content": content}]

    def parse(answer: Answer, row: Scored) -> Rewritten | Reject:
        text = _response(answer.text) if marks else answer.text.strip()
        return finish(answer, row, text, config.max_new_tokens)

    return Ask(prompt=prompt, parse=parse)


def _response(text: str) -> str | None:
    """Return what stands between the last two marks that belong together; plain searches, since a million
    answers are read twice.
    """
    found, at = None, 0
    while (start := text.find(START, at)) >= 0 and (end := text.find(END, start)) >= 0:
        found, at = text[start + len(START) : end], end + len(END)
    return None if found is None else LEFTOVER.sub("", found).strip()


def finish(answer: Answer, row: Scored, text: str | None, room: int) -> Rewritten | Reject:
    """Make the row of an aligned model's answer, or say why there is none."""
    if answer.truncated:
        return Reject("truncated", f"no end within {room} tokens")
    if text is None:
        return Reject("no_marks", "the answer holds no [RES] … [/RES]")
    if not text:
        return Reject("empty", "the model wrote nothing")
    return Rewritten(
        **carry(row),
        instruction=row.instruction,
        response=text,
        draft=row.response,
        messages=[{"role": "user", "content": row.instruction}, {"role": "assistant", "content": text}],
        generation=answer.generation,
    )
