"""The report: what became of every row at every node, as rows, tables and figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from dataset_cards.lengths import PairLengths
from hub_tools.analysis.nodes import NodeSummary
from hub_tools.analysis.report import report_body
from hub_tools.records import Measure, Rejected, Rewritten, Scored, Seed, row_id
from hub_tools.stages.quality import TokenCounter
from hub_tools.stages.registry import MODEL, Extras, Inputs, Render, StageConfig, Transform, stage

PAIRS = (Seed, Scored, Rewritten)


class ReportConfig(StageConfig):
    """The report has no settings of its own; `reads` lists its nodes, all others by default."""


@stage("report", writes=Measure, reads_nodes=True)
def report(config: ReportConfig, render: Render) -> Transform[Measure]:
    """The run in numbers: the funnel of every node, lengths, scores and losses beside the paper's.

    Its rows are the same numbers one by one, so that the reports of many runs can be joined.
    """
    extras = Extras()

    def rows(inputs: Inputs) -> Iterator[Measure | Rejected]:
        nonlocal extras
        names = inputs.names()
        inputs.tick(total=len(names))
        summaries = {name: _summary(name, inputs) for name in names}
        lengths = {name: _lengths(name, inputs) for name in names if inputs.kind(name) in PAIRS}
        scores = {name: _scores(name, inputs) for name in names if inputs.kind(name) is Scored}
        body, pictures = report_body(
            list(summaries.values()), {name: found for name, found in lengths.items() if found}, scores
        )
        extras = Extras(body=body, pictures=pictures)
        for summary in summaries.values():
            inputs.tick(1)
            yield from _measures(summary, inputs.statement(summary.node).run)

    return Transform(rows=rows, extras=lambda: extras)


def _summary(name: str, inputs: Inputs) -> NodeSummary:
    run = inputs.statement(name).run
    repo, _, version = inputs.published(name)
    return NodeSummary(
        node=name,
        repo=repo,
        version=version,
        read=run["read"],
        kept=run["kept"],
        rejects=run["rejects"],
        seconds=run["seconds"],
        losses=[(step, loss) for step, loss in run.get("losses", [])],
        forecast=run["forecast"]["measures"] if run.get("forecast") else {},
        facts=_facts(run),
    )


def _facts(run: Mapping[str, Any]) -> dict[str, float]:
    """Return what a pilot would have forecast: dollars at the price that it was told."""
    spent, hours = run.get("generation", {}), run["seconds"] / 3600
    facts = {"rows": run["read"], "hours": hours} | {
        name: spent[name] for name in ("requests", "prompt_tokens", "completion_tokens") if name in spent
    }
    price = (run.get("forecast") or {}).get("price")
    if price and spent:
        tokens = [
            spent[f"{kind}_tokens"] * price[f"per_million_{kind}_tokens"] for kind in ("prompt", "completion")
        ]
        facts["dollars"] = sum(tokens) / 1e6 + hours * price["per_hour"]
    return facts


def _lengths(name: str, inputs: Inputs) -> PairLengths | None:
    """Count tokens of instructions and responses with the tokenizer of the run's first model, None without
    one.
    """
    model = next((other for other in inputs.names() if inputs.kind(other) == MODEL), None)
    if model is None:
        return None
    count, found = TokenCounter(inputs.folder(model, ["tokenizer.json"])), PairLengths()
    for row in inputs.rows(name):
        found.instruction.add([count(row.instruction)])
        found.response.add([count(row.response)])
    return found


def _scores(name: str, inputs: Inputs) -> Mapping[int | None, int]:
    return Counter(row.score for row in inputs.rows(name))


def _measures(summary: NodeSummary, run: Mapping[str, Any]) -> Iterator[Measure]:
    values = {
        "rows read": summary.read,
        "rows kept": summary.kept,
        "seconds": summary.seconds,
        **{f"rejected: {reason}": count for reason, count in summary.rejects.items()},
        **{f"mean words: {column}": mean for column, mean in run.get("mean_words", {}).items()},
        **{f"score: {score}": count for score, count in run.get("scores", {}).items()},
        **{f"loss at step {step}": loss for step, loss in summary.losses},
        **{
            f"generation: {key}": value
            for key, value in run.get("generation", {}).items()
            if key != "endpoint"
        },
    }
    for measure, value in values.items():
        yield Measure(
            id=row_id("report", f"{summary.repo}@{summary.version} {measure}"),
            node=summary.node,
            repo=summary.repo,
            version=summary.version,
            measure=measure,
            value=float(value),
        )
