"""How tasks end and how runs are remembered: the moves to final states, and attempts.

A finished task keeps its head, result and attempts until retention drops them; its payload goes
at once, but for dead tasks, which may be redriven.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskq.limits import ATTEMPT_HISTORY_MAX, ERROR_SIZE_MAX
from taskq.machine import keys
from taskq.machine.ready import leave_ready, make_ready
from taskq.machine.record import pack
from taskq.machine.schedule import leave_schedule
from taskq.machine.task import (
    CANCELLED,
    CONTENT_SIZE_IN_HEAD,
    DEAD,
    EXPIRED,
    READY,
    Task,
    move,
    save_task,
)
from taskq.machine.ttl import start_ttl, stop_ttl

if TYPE_CHECKING:
    from taskq.machine.state import State

# Of an error text, what the head keeps; the whole stands with the attempt.
REASON_SIZE_MAX = 500


def finish(state: State, task: Task, to: int, reason: str) -> None:
    """Moves a task to a final state and indexes it for retention. The caller saves it."""
    move(state, task, to)
    task.ended_wall, task.ended_ms, task.reason = state.wall, state.elapsed, reason
    if to == DEAD:
        state.indices[keys.DEAD].add(task.ended_wall, task.id)
        state.counters.dead += 1
    else:
        state.finished.add(task.id)
        if task.payload_size > CONTENT_SIZE_IN_HEAD:
            state.view.delete(keys.PAYLOAD + task.id)
        task.content = b""
    state.ended.append(task.id)


def cancel_now(state: State, task: Task, reason: str) -> None:
    """A task that does not wait any more (or never did) ends as cancelled."""
    finish(state, task, CANCELLED, reason)
    state.counters.cancelled += 1


def leave_waiting(state: State, task: Task) -> None:
    """Takes a ready, scheduled or retrying task out of all indices, before it ends."""
    stop_ttl(state, task)
    if task.state == READY:
        leave_ready(state, task)
    else:
        leave_schedule(state, task)


def end_waiting(state: State, task: Task, to: int, reason: str) -> None:
    """Ends a waiting task as CANCELLED or EXPIRED, and saves it."""
    leave_waiting(state, task)
    if to == EXPIRED:
        finish(state, task, EXPIRED, reason)
        state.counters.expired += 1
    else:
        cancel_now(state, task, reason)
    save_task(state, task)


def return_to_place(state: State, task: Task) -> None:
    """A released or reclaimed task is ready again where it was."""
    make_ready(state, task)
    start_ttl(state, task)


def record_attempt(state: State, task: Task, outcome: str, error: str) -> None:
    """Remembers a run that did not complete; the oldest beyond the limit is forgotten. To be called
    while the task counts as leased: `history_size` is part of what other states count."""
    error = cut(error, ERROR_SIZE_MAX)
    run = pack(task.worker, task.started_wall, state.wall, outcome, error)
    state.view.put(keys.attempt_key(task.id, task.attempt), run)
    task.history_size += len(run)
    if task.attempt > ATTEMPT_HISTORY_MAX:
        oldest = keys.attempt_key(task.id, task.attempt - ATTEMPT_HISTORY_MAX)
        task.history_size -= len(state.view.get(oldest) or b"")
        state.view.delete(oldest)


def cut(text: str, size_max: int) -> str:
    """At most `size_max` bytes of UTF-8 of a text, its end rather than its beginning: a traceback
    names the error in its last line."""
    if len(text) * 4 <= size_max:
        return text
    data = text.encode("utf-8", "replace")
    if len(data) <= size_max:
        return text
    return data[-size_max:].decode("utf-8", "ignore")


def last_line(error: str) -> str:
    """The last line of an error text that says something, for the head."""
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    return lines[-1][:REASON_SIZE_MAX] if lines else ""
