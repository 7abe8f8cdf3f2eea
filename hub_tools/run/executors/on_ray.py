"""Tasks on a Ray cluster."""

from __future__ import annotations

import logging
import os
import socket

from datatrove.executor import RayPipelineExecutor  # type: ignore[import-untyped]

from hub_tools.errors import BackforthError
from hub_tools.run.executors.job import TOKEN
from hub_tools.run.executors.order import Order
from hub_tools.run.executors.step import Step

CLASS = RayPipelineExecutor
AUTO = "auto"  # the cluster that this machine belongs to


def check() -> None:
    """See whether the cluster of RAY_ADDRESS answers; Ray itself would go on asking for minutes.

    Raises:
        BackforthError: it does not.
    """
    address = os.environ.get("RAY_ADDRESS", AUTO)
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise BackforthError(
            f"--executor ray finds no cluster at RAY_ADDRESS={address} ({error}); start it, or unset that"
        ) from error


def run(order: Order) -> None:
    """Run the order's tasks on the cluster of RAY_ADDRESS, or this machine's.

    The token goes through Ray's memory: the environment that a driver asks for is written to Ray's logs.

    Raises:
        BackforthError: there is no such cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    try:
        ray.init(os.environ.get("RAY_ADDRESS", AUTO), log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError as error:
        raise BackforthError(
            "--executor ray finds no cluster; start one with `ray start --head`, or set RAY_ADDRESS"
        ) from error
    try:
        step = Step(order.folder.address, {TOKEN: order.token} if order.token else {}, bound=True)
        RayPipelineExecutor([step], **order.shared, **{"mem_per_cpu_gb": 0.5, **order.settings}).run()
    finally:
        ray.shutdown()
