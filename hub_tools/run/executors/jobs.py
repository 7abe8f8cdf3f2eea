"""Tasks as Hugging Face Jobs."""

from __future__ import annotations

from importlib.metadata import version

from datatrove.executor import JobsPipelineExecutor  # type: ignore[import-untyped]

from hub_tools.run.executors.job import TOKEN
from hub_tools.run.executors.order import Order, settings_of

SETTINGS = settings_of(JobsPipelineExecutor)


def check() -> None:
    """See nothing: whether an account may run Jobs is known when the first one starts."""


def executor(order: Order) -> JobsPipelineExecutor:
    """Return datatrove's executor for an order; every Job installs this version of backforth."""
    settings = {
        "dependencies": [f"backforth[scale]=={version('backforth')}"],
        "job_name": order.name,
        **order.settings,
    }
    secrets = {TOKEN: order.token} if order.token else None
    return JobsPipelineExecutor([order.step], **order.shared, secrets=secrets, **settings)


def run(order: Order) -> None:
    """Run the order's tasks as Jobs of the user's account, and wait for them."""
    executor(order).run()
