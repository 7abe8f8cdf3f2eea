"""Tasks on this machine, so many at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed

from datatrove.executor import LocalPipelineExecutor  # type: ignore[import-untyped]

from hub_tools.run.executors.order import Order
from hub_tools.run.executors.step import TaskError

SETTINGS = ("randomize_start_duration",)


def check() -> None:
    """This machine is always there."""


class Threads(LocalPipelineExecutor):  # type: ignore[misc]
    """Runs each rank in a thread, which only waits for its program: where a process pool hangs for ever when
    one of its processes is killed, this starts the program anew.
    """

    def run(self) -> None:
        """Run all ranks that are not completed; after a failure, those that run end, and no more begin."""
        (step,) = self.pipeline
        pool = ThreadPoolExecutor(self.workers)
        ranks = self.get_incomplete_ranks()
        running = [pool.submit(self._run_for_rank, rank, local_rank=1) for rank in ranks]
        try:
            for future in as_completed(running):
                future.result()
        except TaskError:
            pool.shutdown(cancel_futures=True)
        except BaseException:
            step.stop()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def run(order: Order) -> None:
    """Run the order's tasks here."""
    Threads([order.step], **order.shared, **order.settings).run()
