"""Runs functions in threads of the worker's own process."""

from __future__ import annotations

import asyncio
import queue
import threading
import time

from taskq.worker.context import enter
from taskq.worker.executor import CANCELLED, Run, Runs
from taskq.worker.function import Ended, run, run_coroutine
from taskq.worker.line import Line
from taskq.worker.pace import Pace
from taskq.worker.workload import Workload


class Threads:
    """`concurrency` threads. A thread cannot be ended from outside: `stop` sets the flag
    `current_task().is_cancelled`, and a function that never looks runs to its end.

    A coroutine function gets an event loop of its own for each run.
    """

    def __init__(self, workload: Workload, concurrency: int, prefetch: int | None) -> None:
        self._workload = workload
        self._concurrency = concurrency
        self._pace = Pace(concurrency, prefetch)
        self._tickets: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._count = 0

    async def start(self, runs: Runs) -> None:
        """See `Executor`."""
        self._line = Line(runs, self._pace, lambda _: None)

    def run(self, run: Run) -> None:
        """See `Executor`."""
        self._line.put(run)
        self._tickets.put(True)
        if self._count < self._concurrency:
            self._count += 1
            # Daemons: a run that never ends does not keep the process from ending.
            threading.Thread(
                target=self._serve, name=f"taskq-task-{self._count}", daemon=True
            ).start()

    def _serve(self) -> None:
        while self._tickets.get():
            taken = self._line.take()
            if taken is None:
                continue  # it was given back
            claimed, context = taken
            enter(context)
            began = time.monotonic()
            ended = self._call(claimed)
            self._line.done(context, ended, time.monotonic() - began)

    def _call(self, claimed: Run) -> Ended:
        task = claimed.task
        found = self._workload.find(task.name)
        assert found is not None, "a task of an unknown name was not released"
        if not found.is_async:
            return run(found.function, task.payload, task.headers)
        try:
            return asyncio.run(run_coroutine(found.function, task.payload, task.headers))
        except asyncio.CancelledError:
            return CANCELLED

    @property
    def held(self) -> int:
        """How many tasks have not ended."""
        return self._line.held

    def claimable(self) -> int:
        """See `Executor`."""
        return self._line.claimable()

    def waiting_since(self) -> float | None:
        """See `Executor`."""
        return self._line.waiting_since()

    def give_back(self) -> None:
        """See `Executor`."""
        self._line.give_back()

    def stop(self, token: int) -> None:
        """See `Executor`: sets the flag of a run."""
        self._line.stop(token)

    def kill(self) -> None:
        """Sets the flags of all runs."""
        self._line.stop_all()

    async def close(self) -> None:
        """Sets the flags of what is left; those threads end with the process, the others now."""
        self.kill()
        for _ in range(self._count):
            self._tickets.put(False)

    def child_pids(self) -> list[int]:
        """None."""
        return []
