"""Tasks on a Ray cluster."""

from __future__ import annotations

import logging
import os
import socket
from typing import Any

from datatrove.executor import RayPipelineExecutor  # type: ignore[import-untyped]

from hub_tools.errors import BackforthError
from hub_tools.run.executors.job import TOKEN
from hub_tools.run.executors.order import Order
from hub_tools.run.executors.step import Step, TaskError

SETTINGS = (
    "cpus_per_task",
    "mem_per_cpu_gb",
    "gpus_per_task",
    "ray_remote_kwargs",
    "randomize_start_duration",
)
AUTO = "auto"  # the cluster that this machine belongs to
RETRIES = 10  # of a task whose worker or node is lost


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


class Remote(RayPipelineExecutor):  # type: ignore[misc]
    """Runs each rank as a plain task of Ray, which Ray itself starts again when its worker or node is lost;
    actors with pools of processes inside hang for ever when one of those is killed.
    """

    def run(self) -> None:
        """Run all ranks that are not completed; after a failure, those that run end, and no more begin."""
        import ray
        from ray.exceptions import RayError

        options = {
            "num_cpus": self.cpus_per_task,
            "num_gpus": self.gpus_per_task,
            "memory": int(self.mem_per_cpu_gb * self.cpus_per_task * 1024**3),
            "max_retries": RETRIES,
            **(self.ray_remote_kwargs or {}),
        }
        task, executor = ray.remote(_run_rank).options(**options), ray.put(self)
        waiting = self.get_incomplete_ranks()
        running: list[Any] = []
        try:
            while waiting or running:
                while waiting and len(running) < self.workers:
                    running.append(task.remote(executor, waiting.pop(0)))
                (ended,), running = ray.wait(running)
                try:
                    ray.get(ended)
                except TaskError:
                    waiting.clear()
                except RayError:  # lost again and again; the run tells which are missing
                    continue
        finally:
            for left in running:
                ray.cancel(left, force=True)


def _run_rank(executor: Any, rank: int) -> None:
    executor._run_for_rank(rank, local_rank=1)


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
        step = Step(order.folder.address, {TOKEN: order.token} if order.token else {})
        Remote([step], **order.shared, **{"mem_per_cpu_gb": 0.5, **order.settings}).run()
    finally:
        ray.shutdown()
