"""The backtranslation stage: the backward model writes the instruction that a web document answers."""

from __future__ import annotations

from pydantic import Field

from hub_tools.records import Backtranslated, Messages, Response
from hub_tools.stages.registry import Answer, Ask, AskConfig, Input, Reject, Render, carry, stage
from training.views import backward_prompt


class BacktranslateConfig(AskConfig):
    """Settings of backtranslation (paper, section 2.1: T = 1.0, top-p = 0.9; the longest instruction had 514
    tokens).
    """

    max_new_tokens: int = Field(
        514, ge=1, description="Longest instruction, in tokens of the backward model."
    )
    attempts: int = Field(
        2, ge=1, le=20, description="How often a document is asked until its instruction parses."
    )


@stage(
    "backtranslate",
    repo="backtranslated",
    reads={"responses": Input(Response, "responses")},
    writes=Backtranslated,
    asks="backward",
    prompts=("backward",),
)
def backtranslate(config: BacktranslateConfig, render: Render) -> Ask[Response, Backtranslated]:
    """Web documents with the instruction that a backward model wrote for each.

    The response is the document itself; nobody has judged yet whether the two fit.
    """

    def prompt(row: Response) -> Messages:
        return backward_prompt(render, row.text)

    def parse(answer: Answer, row: Response) -> Backtranslated | Reject:
        instruction = answer.text.strip()
        if answer.truncated:
            return Reject("truncated", f"no end within {config.max_new_tokens} tokens")
        if not instruction:
            return Reject("empty", "the backward model wrote nothing")
        if instruction in row.text:
            return Reject("copied", "the instruction is a passage of the document")
        return Backtranslated(
            **carry(row), instruction=instruction, response=row.text, generation=answer.generation
        )

    return Ask(prompt=prompt, parse=parse)
