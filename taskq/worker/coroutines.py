"""Runs coroutine functions on an event loop of their own, in a thread beside the worker's.

One that blocks its loop holds up the others there, but not the heartbeats.
"""

from __future__ import annotations

import asyncio
import functools
import threading
import time

from taskq.worker.context import TaskContext, enter
from taskq.worker.executor import CANCELLED, Run, Runs
from taskq.worker.function import Ended, run_coroutine
from taskq.worker.line import Line
from taskq.worker.pace import Pace
from taskq.worker.threads import Threads
from taskq.worker.workload import Workload

# How long cancelled coroutines may take to end when the worker does.
CLOSE_SECS = 1.0


class Coroutines:
    """At most `concurrency` coroutines at once; `stop` cancels one. Plain functions of the same
    app run in as many threads."""

    def __init__(self, workload: Workload, concurrency: int, prefetch: int | None) -> None:
        self._workload = workload
        self._concurrency = concurrency
        self._pace = Pace(concurrency, prefetch)
        self._threads = Threads(workload, concurrency, prefetch)
        self._tasks: dict[int, asyncio.Task[Ended]] = {}
        self._filling = False

    async def start(self, runs: Runs) -> None:
        """See `Executor`."""
        await self._threads.start(runs)
        self._line = Line(runs, self._pace, self._cancel_soon)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="taskq-coroutines", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def run(self, run: Run) -> None:
        """See `Executor`."""
        found = self._workload.find(run.task.name)
        assert found is not None, "a task of an unknown name was not released"
        if not found.is_async:
            self._threads.run(run)
            return
        self._line.put(run)
        if not self._filling:
            self._filling = True
            self._loop.call_soon_threadsafe(self._fill)

    # --- on the loop of the coroutines ----------------------------------------------------------

    def _fill(self) -> None:
        self._filling = False
        while len(self._tasks) < self._concurrency and (taken := self._line.take()) is not None:
            run, context = taken
            name = f"task-{context.id}"
            task = self._loop.create_task(self._call(run, context), name=name)
            self._tasks[context.token] = task
            # Not in the coroutine itself: cancelled before its first step, it would never run.
            began = time.monotonic()
            task.add_done_callback(functools.partial(self._ended, context, began))

    async def _call(self, run: Run, context: TaskContext) -> Ended:
        enter(context)
        found = self._workload.find(run.task.name)
        assert found is not None, "a task of an unknown name was not released"
        return await run_coroutine(found.function, run.task.payload, run.task.headers)

    def _ended(self, context: TaskContext, began: float, task: asyncio.Task[Ended]) -> None:
        del self._tasks[context.token]
        ended = CANCELLED if task.cancelled() else task.result()
        self._line.done(context, ended, time.monotonic() - began)
        self._fill()

    def _cancel(self, token: int) -> None:
        if token in self._tasks:
            self._tasks[token].cancel()

    # --- on the worker's loop -------------------------------------------------------------------

    def _cancel_soon(self, token: int) -> None:
        self._loop.call_soon_threadsafe(self._cancel, token)

    def claimable(self) -> int:
        """See `Executor`. Plain functions and coroutines share the worker's slots."""
        fewest = min(self._line.claimable(), self._threads.claimable())
        return max(0, fewest - min(self._line.held, self._threads.held))

    def waiting_since(self) -> float | None:
        """See `Executor`."""
        found = (self._line.waiting_since(), self._threads.waiting_since())
        return min((since for since in found if since is not None), default=None)

    def give_back(self) -> None:
        """See `Executor`."""
        self._line.give_back()
        self._threads.give_back()

    def stop(self, token: int) -> None:
        """See `Executor`: cancels one run."""
        self._line.stop(token)
        self._threads.stop(token)

    def kill(self) -> None:
        """Cancels all runs."""
        self._line.stop_all()
        self._threads.kill()

    async def close(self) -> None:
        """Cancels what is left and gives it a moment to end."""
        self.kill()
        await self._threads.close()
        deadline = time.monotonic() + CLOSE_SECS
        while self._tasks and time.monotonic() < deadline:  # noqa: ASYNC110 - of another loop
            await asyncio.sleep(0.01)
        if not self._tasks:
            self._loop.call_soon_threadsafe(self._loop.stop)
            await asyncio.to_thread(self._thread.join, CLOSE_SECS)

    def child_pids(self) -> list[int]:
        """None."""
        return []
