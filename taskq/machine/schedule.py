"""Tasks that wait for a time: scheduled (delay, run-at, delayed release) and retrying.

    s <due> <seq>  cluster time (delays, retries)      w <due> <seq>  wall time (run-at)

`Advance` promotes what is due; a schedule never starts early, because nothing else does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskq.machine import keys
from taskq.machine.ready import make_ready
from taskq.machine.task import (
    BY_ELAPSED,
    BY_WALL,
    HEADS_AT_ONCE,
    NO_DUE,
    Task,
    find_task,
    move,
    read_heads,
    save_task,
)
from taskq.machine.ttl import start_ttl

if TYPE_CHECKING:
    from taskq.machine.state import State

_FAMILY = {BY_ELAPSED: keys.DUE_ELAPSED, BY_WALL: keys.DUE_WALL}


def wait_until(state: State, task: Task, to: int, clock: int, due_ms: int) -> None:
    """Moves a task to SCHEDULED or RETRYING until `due_ms` of the clock. The caller saves it."""
    move(state, task, to)
    state.sequence += 1
    task.due_clock, task.due_ms, task.due_sequence = clock, due_ms, state.sequence
    state.indices[_FAMILY[clock]].add(due_ms, keys.u64(task.due_sequence), task.id)
    state.view.create(keys.waiting_prefix(task.queue) + task.id, b"")


def leave_schedule(state: State, task: Task) -> None:
    """Removes a task from the index of what is due."""
    state.indices[_FAMILY[task.due_clock]].remove(task.due_ms, keys.u64(task.due_sequence))
    _forget_due(state, task)


def _forget_due(state: State, task: Task) -> None:
    state.view.delete(keys.waiting_prefix(task.queue) + task.id)
    task.due_clock, task.due_ms, task.due_sequence = NO_DUE, 0, 0


def promote(state: State, limit: int) -> int:
    """Makes at most `limit` due tasks ready, by both clocks; how many it was."""
    due = state.indices[keys.DUE_ELAPSED].take(state.elapsed, limit)
    due += state.indices[keys.DUE_WALL].take(state.wall, limit - len(due))
    for first in range(0, len(due), HEADS_AT_ONCE):
        ids = [one.value for one in due[first : first + HEADS_AT_ONCE]]
        heads = read_heads(state, ids)
        for task_id in ids:
            task = heads.get(task_id) or find_task(state, task_id)
            assert task is not None, "a schedule without a task"
            _forget_due(state, task)
            make_ready(state, task)
            start_ttl(state, task)
            save_task(state, task)
    return len(due)
