"""The thread that owns the model: takes jobs, keeps the batch full, hands back answers."""

from __future__ import annotations

import logging
import threading
from collections import deque
from time import monotonic
from typing import Any

import torch

from hub_tools.endpoints.server.batch import RunningBatch
from hub_tools.endpoints.server.errors import GenerationError, RequestError
from hub_tools.endpoints.server.jobs import Generated, Job
from hub_tools.endpoints.server.model import LoadedModel
from hub_tools.endpoints.server.placement import works
from hub_tools.endpoints.server.rows import Row

logger = logging.getLogger(__name__)

_STOPPING = "the server is stopping"


class Batcher:
    """Continuous batching: a job joins between two decode steps, and leaves as soon as it is finished."""

    def __init__(self, model: LoadedModel, tokenizer: Any, max_batch_size: int, prefill_tokens: int) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._max_batch_size = max_batch_size
        self._prefill_tokens = prefill_tokens
        self._waiting: deque[Job] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._batch = RunningBatch(model)
        self._opening: list[Job] = []
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)

    def start(self) -> None:
        """Begin to take jobs."""
        self._thread.start()

    def end(self) -> None:
        """Let the thread end after the step it is in; jobs that are not finished fail."""
        with self._wake:
            self._stopping = True
            self._wake.notify()

    def stop(self) -> None:
        """End the thread, and wait for it."""
        self.end()
        self._thread.join(timeout=30)

    @property
    def alive(self) -> bool:
        """Whether the model thread runs."""
        return self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """Jobs that have no slot yet."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Rows that decode together now."""
        return len(self._batch.rows)

    @property
    def running_tokens(self) -> int:
        """Tokens that the running rows may come to hold, prompts and answers."""
        requests = [row.job.request for row in list(self._batch.rows)]
        return sum(len(request.prompt) + request.max_new_tokens for request in requests)

    def submit(self, job: Job) -> None:
        """Queue a job; its `done` is called once, mostly from the model thread, unless it is cancelled."""
        with self._wake:
            if not self._stopping:
                self._waiting.append(job)
                self._wake.notify()
                return
        job.done(GenerationError(_STOPPING))

    def _run(self) -> None:
        while self._wait_for_work():
            try:
                with torch.inference_mode():
                    self._turn()
            except Exception as error:
                # Whatever the model raised (out of memory, mostly), later requests must still be served.
                logger.exception("the batch failed")
                self._fail_all(GenerationError.of(error))
                if not works(self._model.device):
                    logger.error("the %s is lost; restart the server", self._model.device.type)
                    self.end()
        self._fail_all(GenerationError(_STOPPING))

    def _wait_for_work(self) -> bool:
        with self._wake:
            while not (self._waiting or self._batch.rows or self._stopping):
                self._wake.wait()
            return not self._stopping

    def _turn(self) -> None:
        """Fill the free slots first, since a decode step costs nearly the same for one row as for all."""
        self._batch.leave([row for row in self._batch.rows if row.job.cancelled])
        while self._open_jobs():
            rows = [Row(job, self._model, self._tokenizer) for job in self._opening]
            failed = self._batch.prefill(rows)
            self._finish([row for row in rows if row.finish], failed)
            self._opening = []
        if self._batch.rows:
            failed = self._batch.step()
            self._finish([row for row in self._batch.rows if row.finish], failed)

    def _open_jobs(self) -> bool:
        """Take waiting jobs for the free slots, one or as many as the prefill's token budget holds."""
        chosen = self._opening
        longest = 0
        with self._wake:
            free = self._max_batch_size - len(self._batch.rows)
            while self._waiting and len(chosen) < free:
                job = self._waiting[0]
                longest = max(longest, len(job.request.prompt))
                if chosen and longest * (len(chosen) + 1) > self._prefill_tokens:
                    break
                self._waiting.popleft()
                if not job.cancelled:
                    job.started = monotonic()
                    chosen.append(job)
        return bool(chosen)

    def _finish(self, finished: list[Row], failed: list[tuple[Row, RequestError]]) -> None:
        gone = {row for row, _ in failed} | set(finished)
        self._batch.leave([row for row in self._batch.rows if row in gone])
        for row, error in failed:
            row.job.done(error)
        for row in finished:
            row.job.done(_outcome(row))

    def _fail_all(self, error: RequestError) -> None:
        """Give up the running batch, and with it its cache, which may be half-written."""
        lost, self._batch = self._batch.rows, RunningBatch(self._model)
        waiting: list[Job] = []
        if self._stopping:
            with self._wake:
                waiting, self._waiting = list(self._waiting), deque()
        lost_jobs = {*(row.job for row in lost), *self._opening, *waiting}
        self._opening = []
        for job in lost_jobs:
            job.done(error)


def _outcome(row: Row) -> Generated | RequestError:
    try:
        return row.result()
    except Exception as error:  # a tokenizer may raise anything, and the client must hear of it
        logger.exception("an answer could not be decoded")
        return GenerationError.of(error)
