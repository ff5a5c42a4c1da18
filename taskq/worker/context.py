"""What a function may ask about the task it is running.

from taskq import current_task

def resize(path):
    task = current_task()
    for page in pages(path):
        if task.is_cancelled:
            raise Cancelled
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import uuid
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta

from taskq.client.moment import Duration, duration_ms
from taskq.errors import TaskqError

# Asks for a longer lease: (token, milliseconds or None) to the milliseconds granted.
Extend = Callable[[int, int | None], "concurrent.futures.Future[int]"]


class TaskContext:
    """The task that runs now. `attempt` counts from 1; `token` is the fencing token of this run.

    A write to another system that carries `token`, and is refused there once a larger one has
    been seen, stays right even if this run has lost its lease without knowing.
    """

    __slots__ = (
        *("_cancelled", "_deadline_wall", "_extend", "_id"),
        *("attempt", "headers", "name", "queue", "token"),
    )

    def __init__(
        self,
        task_id: bytes,
        token: int,
        queue: str,
        name: str,
        attempt: int,
        headers: Mapping[str, str],
        deadline_wall: float | None = None,
        extend: Extend | None = None,
    ) -> None:
        self._id = task_id
        self._deadline_wall = deadline_wall
        self._extend = extend
        self._cancelled = False
        self.token = token
        self.queue = queue
        self.name = name
        self.attempt = attempt
        self.headers = headers

    def __repr__(self) -> str:
        return f"<TaskContext {self.id} {self.name or self.queue!r} attempt {self.attempt}>"

    @property
    def id(self) -> uuid.UUID:
        """The task's id; the same in every attempt."""
        return uuid.UUID(bytes=self._id)

    @property
    def deadline(self) -> datetime | None:
        """When the time of this run is over, by the clock of this machine in UTC; None without a
        limit. The cluster's clock decides; past it nothing extends the lease."""
        if self._deadline_wall is None:
            return None
        return datetime.fromtimestamp(self._deadline_wall, UTC)

    @property
    def is_cancelled(self) -> bool:
        """True once somebody wants this run to stop, or its lease is lost. In a thread this is the
        only sign; a coroutine gets CancelledError, a process is terminated after a grace."""
        return self._cancelled

    def cancel(self) -> None:
        """Sets `is_cancelled`; called by the worker, from any thread."""
        self._cancelled = True

    def extend(self, lease: Duration | None = None) -> timedelta:
        """A longer lease from now on (default: its usual length); what was granted.

        The worker extends leases by itself. This is for a run that knows that the worker will not
        be able to, for instance because the machine is about to be suspended. Raises StaleToken
        where the lease is lost, and what any request raises.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return _granted(self._ask(lease).result())
        raise RuntimeError("in a coroutine: await current_task().extend_async(...)")

    async def extend_async(self, lease: Duration | None = None) -> timedelta:
        """`extend` for coroutines."""
        return _granted(await asyncio.wrap_future(self._ask(lease)))

    def _ask(self, lease: Duration | None) -> concurrent.futures.Future[int]:
        lease_ms = None if lease is None else duration_ms(lease, "lease")
        if self._extend is None:
            raise TaskqError("this run is not a worker's: there is no lease to extend")
        return self._extend(self.token, lease_ms)


def _granted(lease_ms: int) -> timedelta:
    return timedelta(milliseconds=lease_ms)


_current: ContextVar[TaskContext] = ContextVar("taskq_current_task")


def current_task() -> TaskContext:
    """The task of the caller. Raises LookupError outside a worker's function."""
    try:
        return _current.get()
    except LookupError:
        raise LookupError(
            "current_task() works only inside a function that a worker runs"
        ) from None


def enter(context: TaskContext) -> None:
    """Makes `context` the current task of this thread or asyncio task."""
    _current.set(context)
