"""What the worker asks of whatever runs its functions, what it is told, and who runs them.

run() --> in line --> running --> run_ended()
             |
             +--> give_back(), stop() --> run_given_back(), run_ended()
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import NamedTuple, Protocol

from taskq.results import ClaimedTask
from taskq.worker.context import Extend, TaskContext
from taskq.worker.function import Ended

EXECUTORS = ("auto", "process", "thread", "coroutine")

CANCELLED = Ended(False, None, "cancelled while it was running")
CANCELLED_IN_LINE = Ended(False, None, "cancelled before it was started")


class Run(NamedTuple):
    """A task to run: when it arrived by the loop's clock, and when its time is over by the wall
    clock, if it is limited."""

    task: ClaimedTask
    arrived: float
    deadline_wall: float | None

    def context(self, extend: Extend | None) -> TaskContext:
        """What the function may ask."""
        task = self.task
        return TaskContext(
            task.task_id,
            task.token,
            task.queue,
            task.name,
            task.attempt,
            task.headers,
            self.deadline_wall,
            extend,
        )


class Runs(Protocol):
    """Who hears what became of the runs, on the worker's loop. Each ends or comes back once."""

    def run_ended(self, token: int, ended: Ended) -> None:
        """A run has ended."""

    def run_given_back(self, token: int) -> None:
        """A run was not started and will not be."""

    def room_made(self) -> None:
        """More may be claimed than before."""

    async def extend(self, token: int, lease_ms: int | None) -> int:
        """Asks the cluster for a longer lease; what it granted. Raises TaskqError."""


class Executor(Protocol):
    """Runs functions, so many at a time. Every method is called on the worker's loop."""

    async def start(self, runs: Runs) -> None:
        """Makes ready. Raises WorkerError where the functions cannot be loaded."""

    def run(self, run: Run) -> None:
        """Takes a task into its line."""

    def claimable(self) -> int:
        """How many more tasks it wants to have."""

    def waiting_since(self) -> float | None:
        """When the first task that still waits arrived, if it is to go to others after a while."""

    def give_back(self) -> None:
        """Gives back what waits."""

    def stop(self, token: int) -> None:
        """Asks a run to end, or takes it out of the line; it is told as ended in either case."""

    def kill(self) -> None:
        """Ends all runs at once, as far as that can be done."""

    async def close(self) -> None:
        """Gives everything back. Runs that cannot be ended are left behind."""

    def child_pids(self) -> list[int]:
        """Processes whose CPU time and memory count as the worker's."""


def extender(runs: Runs, loop: asyncio.AbstractEventLoop) -> Extend:
    """What functions in this process extend their leases with, from any thread."""

    def extend(token: int, lease_ms: int | None) -> concurrent.futures.Future[int]:
        return asyncio.run_coroutine_threadsafe(runs.extend(token, lease_ms), loop)

    return extend
