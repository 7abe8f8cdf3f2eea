"""What a run says at its end: the table of nodes, and what to do with the results."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from hub_tools.hub.repository import Hub
from hub_tools.recipe import EMBEDDED, Recipe
from hub_tools.run.outcome import Outcome
from hub_tools.run.pinning import short
from hub_tools.run.run import Step


def print_outcomes(console: Console, hub: Hub, outcomes: Sequence[Outcome]) -> None:
    """Print one line a node: repo, version, rows in and out, rejected, seconds, address."""
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
    console.print(table)


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


def print_next(console: Console, recipe: Recipe, hub: Hub, outcomes: Sequence[Outcome]) -> None:
    """Say how another program loads the results, and how the same recipe goes to the real Hub and a real
    TGI.
    """
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
