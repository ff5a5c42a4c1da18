"""What a function may ask about the task it is running.

from taskq.worker import current_task

def resize(path):
    task = current_task()
    for page in pages(path):
        if task.cancel_requested:
            raise Cancelled
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class TaskContext:
    """The task that runs now. `attempt` counts from 1; `token` is the fencing token of this run.

    A write to another system that carries `token`, and is refused there once a larger one has
    been seen, stays right even if this run has lost its lease without knowing.
    """

    id: uuid.UUID
    token: int
    queue: str
    name: str
    attempt: int
    headers: Mapping[str, str]
    _cancel: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)

    @property
    def cancel_requested(self) -> bool:
        """True once somebody wants this run to stop. In a thread this is the only sign; a
        coroutine gets CancelledError, a process is terminated."""
        return self._cancel.is_set()

    def request_cancel(self) -> None:
        """Sets `cancel_requested`; called by the worker, from any thread."""
        self._cancel.set()


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


def to_wire(context: TaskContext) -> list[Any]:
    """What a pool process needs to make the same context."""
    return [
        context.id.bytes,
        context.token,
        context.queue,
        context.name,
        context.attempt,
        dict(context.headers),
    ]


def from_wire(fields: list[Any]) -> TaskContext:
    """The inverse of `to_wire`."""
    return TaskContext(uuid.UUID(bytes=fields[0]), *fields[1:])
