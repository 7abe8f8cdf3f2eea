"""The distilling stage, the control: the aligned model answers the instruction without seeing the web
text.
"""

from __future__ import annotations

from pydantic import Field

from hub_tools.records import Messages, Rewritten, Scored
from hub_tools.stages.registry import Answer, Ask, AskConfig, Input, Reject, Render, stage
from hub_tools.stages.rewrite import finish


class DistillConfig(AskConfig):
    """Settings of distilling (paper, section 3: T = 1.0, top-p = 0.9)."""

    max_new_tokens: int = Field(1024, ge=1, description="Longest answer, in tokens of the aligned model.")
    attempts: int = Field(
        3, ge=1, le=20, description="How often an instruction is asked until its answer parses."
    )


@stage(
    "distill",
    repo="distilled",
    reads={"pairs": Input(Scored, "curate/kept")},
    writes=Rewritten,
    asks="rewriter",
)
def distill(config: DistillConfig, render: Render) -> Ask[Scored, Rewritten]:
    """Kept instructions answered by an aligned model alone: the control that shows what the web text adds.

    The web text, which the model has not seen, stays beside the answer, in the column `draft`.
    """

    def prompt(row: Scored) -> Messages:
        return [{"role": "user", "content": row.instruction}]

    def parse(answer: Answer, row: Scored) -> Rewritten | Reject:
        return finish(answer, row, answer.text.strip(), config.max_new_tokens)

    return Ask(prompt=prompt, parse=parse)
