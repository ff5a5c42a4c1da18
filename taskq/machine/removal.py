"""Records leave: retention by age and by bytes, deletion, and the window in which an id is known.

A removed task's id is remembered until `dedup_window_ms` of cluster time after its end, so that a
repeated submit does not make a second task, whatever limits and operators say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskq.limits import ATTEMPT_HISTORY_MAX
from taskq.machine import keys
from taskq.machine.due import NEVER
from taskq.machine.task import (
    COMPLETED,
    CONTENT_SIZE_IN_HEAD,
    DEAD,
    ENDED_STATES,
    NEW,
    Task,
    load_task,
)
from taskq.results import Done

if TYPE_CHECKING:
    from taskq.commands import Retain
    from taskq.machine.state import State


def remove_task(state: State, task: Task) -> None:
    """Deletes an ended or dead task; it must have left its retention index."""
    view, counters = state.view, state.counters
    view.delete(keys.TASK + task.id)
    if task.state == DEAD and task.payload_size > CONTENT_SIZE_IN_HEAD:
        view.delete(keys.PAYLOAD + task.id)
    if task.result_size > CONTENT_SIZE_IN_HEAD:
        view.delete(keys.RESULT + task.id)
    if task.attempt > 1 or task.state != COMPLETED:
        # A completed run has no record, so that of the attempt before the last 20 is still there.
        for number in range(max(1, task.attempt - ATTEMPT_HISTORY_MAX), task.attempt + 1):
            view.delete(keys.attempt_key(task.id, number))
    counters.states[task.state] -= 1
    if task.state == DEAD:
        counters.dead_size -= task.size
        state.queues.by_name[task.queue].moved(task.priority, DEAD, NEW)
    else:
        assert task.state in ENDED_STATES
        counters.finished_size -= task.size_ended
    counters.removed += 1
    known_until = min(task.ended_ms + state.settings.dedup_window_ms, NEVER - 1)
    if known_until > state.elapsed:
        view.create(keys.FORGOTTEN + task.id, b"")
        state.indices[keys.FORGET_DUE].add(known_until, task.id)


def retain(state: State, command: Retain) -> Done:
    """Drops what is past its retention, at most `limit` records of each kind, oldest first."""
    limit = command.limit
    _drop_finished(state, limit)
    _drop_dead(state, limit)
    for due in state.indices[keys.FORGET_DUE].take(state.elapsed, limit):
        state.view.delete(keys.FORGOTTEN + due.rest)
    return Done()


def _drop_finished(state: State, limit: int) -> None:
    settings, counters = state.settings, state.counters
    while limit > 0:
        over = counters.finished_size > settings.retention_size_max
        until = state.wall if over else state.wall - settings.retention_ms
        # One by one where bytes decide: no more is dropped than has to be.
        ids = state.finished.take(state.wall, until, 1 if over else limit)
        _remove(state, ids)
        limit -= len(ids)
        if not ids:
            return


def _drop_dead(state: State, limit: int) -> None:
    settings, counters = state.settings, state.counters
    while limit > 0:
        over = counters.dead_size > settings.dead_size_max
        until = state.wall if over else state.wall - settings.dead_retention_ms
        due = state.indices[keys.DEAD].take(until, 1 if over else limit) if until >= 0 else []
        _remove(state, [deadline.rest for deadline in due])
        limit -= len(due)
        if not due:
            return


def _remove(state: State, ids: list[bytes]) -> None:
    for task_id in ids:
        task = load_task(state, task_id)
        assert task is not None, "a retention index without a task"
        remove_task(state, task)


def next_retention(state: State) -> tuple[int, bool]:
    """When retention is due next by age (wall time), and whether it is due now: by bytes, or
    because the window of a removed id has ended."""
    settings = state.settings
    finished = state.finished.next() + settings.retention_ms
    dead = state.indices[keys.DEAD].next() + settings.dead_retention_ms
    now = (
        state.counters.finished_size > settings.retention_size_max
        or state.counters.dead_size > settings.dead_size_max
        or state.indices[keys.FORGET_DUE].next() <= state.elapsed
    )
    return min(finished, dead), now
