"""Time to live: a clock in cluster time that runs while a task waits, from submit or due time.

It stands while the task runs and goes on when the task comes back. A task whose clock has run out
is never given to a worker: it expires with the next `Advance` or when a claim meets it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskq.machine import keys
from taskq.machine.task import NO_TTL, Task

if TYPE_CHECKING:
    from taskq.machine.state import State


def start_ttl(state: State, task: Task) -> None:
    """The task waits from now on."""
    if task.ttl_left == NO_TTL or task.ttl_deadline:
        return
    task.ttl_deadline = state.elapsed + task.ttl_left
    state.indices[keys.TTL].add(task.ttl_deadline, task.id)


def stop_ttl(state: State, task: Task) -> None:
    """The task runs or ends."""
    if task.ttl_deadline:
        state.indices[keys.TTL].remove(task.ttl_deadline, task.id)
        hold_ttl(task, state.elapsed)


def hold_ttl(task: Task, elapsed: int) -> None:
    """The clock stands since `elapsed`."""
    if task.ttl_deadline:
        task.ttl_left = max(task.ttl_deadline - elapsed, 0)
        task.ttl_deadline = 0


def has_run_out(state: State, task: Task) -> bool:
    """Whether the task may not be started any more."""
    return 0 < task.ttl_deadline <= state.elapsed
