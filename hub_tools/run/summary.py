"""What a run says at its end: the table of nodes, and what to do with the results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from hub_tools.hub.repository import Hub
from hub_tools.recipe import EMBEDDED, Recipe
from hub_tools.run.outcome import Outcome
from hub_tools.run.pinning import short
from hub_tools.run.run import Step
from hub_tools.stages.registry import Stage


def print_outcomes(console: Console, hub: Hub, outcomes: Sequence[Outcome]) -> None:
    """Print one line a node: repo, version, rows in and out, rejected, seconds, address; three lines where
    the terminal is too narrow for a table.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("node", "repo", "version"):
        table.add_column(heading, no_wrap=True)
    for heading in ("rows in", "out", "rejected", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("URL", overflow="fold")
    for outcome in outcomes:
        table.add_row(
            outcome.node,
            outcome.ref.repo,
            outcome.ref.version or "",
            str(outcome.read),
            str(outcome.kept),
            str(sum(outcome.rejects.values())),
            f"{outcome.seconds:.0f}" if outcome.state == "ran" else "up to date",
            hub.url(outcome.ref),
        )
    if Measurement.get(console, console.options.update(width=10_000), table).maximum > console.width:
        _list_outcomes(console, hub, outcomes)
    else:
        console.print(table)


def _list_outcomes(console: Console, hub: Hub, outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        took = f"{outcome.seconds:.0f} s" if outcome.state == "ran" else "up to date"
        rejected = sum(outcome.rejects.values())
        for text in (
            f"[bold]{outcome.node}[/]  {outcome.ref.repo}@{outcome.ref.version}",
            f"  {outcome.read} rows in, {outcome.kept} out, {rejected} rejected, {took}",
            f"  {hub.url(outcome.ref)}",
        ):
            console.print(text, highlight=False, soft_wrap=True)


def print_plan(console: Console, steps: Sequence[Step]) -> None:
    """Print one line a node: its fingerprint and whether it would run."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("node", "repo", "fingerprint", "state"):
        table.add_column(heading, no_wrap=heading != "state")
    for step in steps:
        if step.found:
            state = f"up to date: {step.found.version}"
        elif step.waits_for:
            state = f"would run, after {step.waits_for}"
        else:
            state = "would run"
        table.add_row(step.node.name, step.node.repo, short(step.fingerprint or "") or "not known yet", state)
    console.print(table)


def print_stages(console: Console, stages: Mapping[str, Stage]) -> None:
    """Print one line a stage: what it makes, what it reads, whom it asks."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("stage", "makes", "reads", "asks"):
        table.add_column(heading)
    for name, stage in sorted(stages.items()):
        reads = "nodes of any kind" if stage.reads_nodes else ", ".join(stage.reads)
        table.add_row(name, stage.summary, reads, stage.asks or "")
    console.print(table)


def print_settings(console: Console, stage: Stage) -> None:
    """Print every setting of a stage with its default and what it does."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("setting", "default", "what it does"):
        table.add_column(heading, no_wrap=heading == "setting")
    for name, field in stage.config.model_fields.items():
        default = "must be set" if field.is_required() else json.dumps(field.default)
        table.add_row(name, default, field.description)
    console.print(stage.summary, highlight=False)
    console.print(table, markup=False)


def print_next(console: Console, recipe: Recipe, hub: Hub, outcomes: Sequence[Outcome]) -> None:
    """Say how another program loads the results, and how the recipe goes to the real Hub and a real TGI."""
    datasets = [outcome.ref for outcome in outcomes if outcome.ref.kind == "dataset"]
    models = [outcome.ref for outcome in outcomes if outcome.ref.kind == "model"]
    lines = []
    if recipe.file.hub.endpoint == EMBEDDED:
        store = recipe.file.hub.store
        lines += [
            "The embedded Hub stays up. Use the results from any program, for instance:",
            f"  export HF_ENDPOINT={hub.endpoint} HF_TOKEN={hub.token}",
            f"Stop it with `backforth hub stop --store {store}`, start it again with `backforth hub "
            f"serve --store {store}`.",
        ]
    if datasets:
        ref = next((ref for ref in datasets if "rewritten" in ref.repo), datasets[-1])
        lines.append(f'  datasets.load_dataset("{ref.repo}", revision="{ref.version}")')
    if models:
        ref = models[-1]
        lines.append(
            f'  transformers.AutoModelForCausalLM.from_pretrained("{ref.repo}", revision="{ref.version}")'
        )
    if recipe.file.hub.endpoint == EMBEDDED:
        lines += [
            "For the real Hub and a real TGI, change these lines of the recipe and nothing else:",
            "  namespace: YOUR-NAME                       (and HF_TOKEN in the environment)",
            "  hub: {endpoint: https://huggingface.co}",
            "  endpoints: {rewriter: {url: http://YOUR-TGI:8080, model: NAMESPACE/MODEL@REVISION}, ...}",
        ]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)
