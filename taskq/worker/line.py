"""Tasks of one process that wait for a thread or a coroutine, and those that have one.

The worker's loop puts in and takes out; threads and the loop of the coroutines take the next. A
lock makes "waits" and "runs" one question, so that a cancellation meets exactly one of them.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable

from taskq.worker.context import Extend, TaskContext
from taskq.worker.executor import CANCELLED_IN_LINE, Run, Runs, extender
from taskq.worker.function import Ended
from taskq.worker.pace import Pace


class Line:
    """The line of an executor. `on_stop` is called with the token of a run that should stop."""

    def __init__(self, runs: Runs, pace: Pace, on_stop: Callable[[int], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._runs = runs
        self._pace = pace
        self._on_stop = on_stop
        self._extend: Extend = extender(runs, self._loop)
        self._lock = threading.Lock()
        self._waiting: deque[Run] = deque()
        self._running: dict[int, TaskContext] = {}
        self._ended: deque[tuple[TaskContext, Ended, float]] = deque()
        self._told = False
        self._progress_at = self._loop.time()

    # --- for the worker's loop ------------------------------------------------------------------

    def put(self, run: Run) -> None:
        """Takes a task in."""
        with self._lock:
            self._waiting.append(run)

    @property
    def held(self) -> int:
        """How many have not ended."""
        return len(self._waiting) + len(self._running)

    def claimable(self) -> int:
        """See `Executor`."""
        return self._pace.claimable(self.held, self._loop.time() - self._progress_at)

    def waiting_since(self) -> float | None:
        """See `Executor`."""
        with self._lock:
            return None if self._pace.patient or not self._waiting else self._waiting[0].arrived

    def give_back(self) -> None:
        """See `Executor`."""
        with self._lock:
            given, self._waiting = self._waiting, deque()
        for run in given:
            self._runs.run_given_back(run.task.token)

    def stop(self, token: int) -> None:
        """See `Executor`."""
        with self._lock:
            context = self._running.get(token)
            kept = deque(run for run in self._waiting if run.task.token != token)
            waited = len(kept) < len(self._waiting)
            self._waiting = kept
        if waited:
            self._runs.run_ended(token, CANCELLED_IN_LINE)
        elif context is not None:
            context.cancel()
            self._on_stop(token)

    def stop_all(self) -> None:
        """Asks every run to stop."""
        for token in list(self._running):
            self.stop(token)

    # --- for whoever runs -----------------------------------------------------------------------

    def take(self) -> tuple[Run, TaskContext] | None:
        """The next task, which runs from now on."""
        with self._lock:
            if not self._waiting:
                return None
            run = self._waiting.popleft()
            context = self._running[run.task.token] = run.context(self._extend)
        self._progress_at = self._loop.time()
        return run, context

    def done(self, context: TaskContext, ended: Ended, secs: float) -> None:
        """A run has ended; the worker's loop hears of it, of many at once under load."""
        self._ended.append((context, ended, secs))
        if not self._told:
            self._told = True
            try:
                self._loop.call_soon_threadsafe(self._tell)
            except RuntimeError:
                pass  # the loop was closed: the worker gave this run up

    def _tell(self) -> None:
        self._told = False
        self._progress_at = self._loop.time()
        while self._ended:
            context, ended, secs = self._ended.popleft()
            del self._running[context.token]
            self._pace.ended(context.name, secs)
            self._runs.run_ended(context.token, ended)
