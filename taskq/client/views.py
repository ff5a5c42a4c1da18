"""What the cluster says, as people read it: names of states, dates in UTC, ids as `UUID`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from taskq.client.moment import datetime_of
from taskq.errors import TaskCancelled, TaskExpired, TaskFailed
from taskq.results import FINAL_STATES, QueueView, TaskState, TaskView, WorkerView


@dataclass(frozen=True, slots=True)
class TaskAttempt:
    """One run of a task that has ended."""

    number: int
    worker: str
    started_at: datetime | None
    ended_at: datetime | None
    outcome: str
    error: str


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """All that is known of a task. A date is None where its moment has not come.

    `due_at` is when a scheduled or retried task may start. `reason` says why a task is dead or
    cancelled. `size` is that of the payload in bytes. `result` is there only where asked for.
    """

    id: UUID
    state: TaskState
    queue: str
    name: str
    priority: int
    headers: Mapping[str, str]
    size: int
    submitted_at: datetime | None
    due_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    attempt: int
    retries: int
    max_retries: int
    lease_expiries: int
    worker: str
    token: int
    cancel_requested: bool
    reason: str
    has_result: bool
    result: bytes | None
    attempts: tuple[TaskAttempt, ...]

    @property
    def finished(self) -> bool:
        """Whether the task has ended, well or not."""
        return self.state in FINAL_STATES

    @property
    def error(self) -> str:
        """The error text of the last attempt; empty where it had none."""
        return self.attempts[-1].error if self.attempts else ""


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """A queue: settings (seconds; `ageing` 0 is off) and counts of its tasks."""

    name: str
    paused: bool
    ageing: float
    lease: float
    ready_high: int
    ready_normal: int
    ready_low: int
    scheduled: int
    retrying: int
    leased: int
    dead: int

    @property
    def ready(self) -> int:
        """Tasks that a worker could take now."""
        return self.ready_high + self.ready_normal + self.ready_low


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker. `seen` is how many seconds ago it was last in contact; `cpu` is in percent."""

    id: str
    name: str
    concurrency: int
    seen: float
    leased: int
    cpu: float
    memory_size: int
    registered_at: datetime | None


@dataclass(frozen=True, slots=True)
class CancelStatus:
    """State after a cancel; `requested` is true while a running task has yet to stop."""

    state: TaskState
    requested: bool


def state_of(state: TaskState | str) -> TaskState:
    """A state by its name. Raises ValueError with the known ones."""
    try:
        return TaskState[state.upper()] if isinstance(state, str) else TaskState(state)
    except (KeyError, ValueError):
        names = ", ".join(known.name.lower() for known in TaskState)
        raise ValueError(f"state: one of {names}, not {state!r}") from None


def task_status(view: TaskView) -> TaskStatus:
    """The public view of a task."""
    return TaskStatus(
        UUID(bytes=view.task_id),
        TaskState(view.state),
        view.queue,
        view.name,
        view.priority,
        view.headers,
        view.size,
        datetime_of(view.submitted_wall_ms),
        datetime_of(view.due_wall_ms),
        datetime_of(view.started_wall_ms),
        datetime_of(view.ended_wall_ms),
        view.attempt,
        view.retries,
        view.max_retries,
        view.lease_expiries,
        view.worker,
        view.token,
        view.cancel_requested,
        view.reason,
        view.has_result,
        view.result,
        tuple(
            TaskAttempt(
                attempt.number,
                attempt.worker,
                datetime_of(attempt.started_wall_ms),
                datetime_of(attempt.ended_wall_ms),
                attempt.outcome,
                attempt.error,
            )
            for attempt in view.attempts
        ),
    )


def queue_status(view: QueueView) -> QueueStatus:
    """The public view of a queue."""
    name, paused, ageing_ms, lease_ms, *counts = view
    return QueueStatus(name, paused, ageing_ms / 1000, lease_ms / 1000, *counts)


def worker_status(view: WorkerView) -> WorkerStatus:
    """The public view of a worker."""
    return WorkerStatus(
        view.worker_id.hex(),
        view.name,
        view.concurrency,
        view.seen_ms / 1000,
        view.leased,
        view.cpu_permille / 10,
        view.memory_size,
        datetime_of(view.registered_wall_ms),
    )


def outcome_of(view: TaskView) -> bytes | None:
    """The result of a task that has ended.

    Raises TaskFailed with the last error text of the worker, TaskCancelled or TaskExpired.
    """
    state = TaskState(view.state)
    assert state in FINAL_STATES, state
    if state is TaskState.COMPLETED:
        return view.result
    task_id = str(UUID(bytes=view.task_id))
    if state is TaskState.DEAD:
        error = view.attempts[-1].error if view.attempts else ""
        raise TaskFailed(task_id, error or view.reason or "the task is dead")
    if state is TaskState.CANCELLED:
        raise TaskCancelled(task_id, view.reason or f"task {task_id} was cancelled")
    raise TaskExpired(task_id, view.reason or f"the TTL of task {task_id} ended before its run")
