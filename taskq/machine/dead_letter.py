"""Dead tasks: kept for a look, redriven by their id, or deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskq.errors import ErrorCode, Refusal, refuse
from taskq.machine import keys
from taskq.machine.ending import finish
from taskq.machine.ready import make_ready
from taskq.machine.removal import remove_task
from taskq.machine.task import DEAD, Task, load_task, save_task, shown
from taskq.machine.ttl import start_ttl
from taskq.results import BatchReply, Done

if TYPE_CHECKING:
    from taskq.commands import DeleteDead, RedriveDead
    from taskq.machine.state import State


def bury(state: State, task: Task, reason: str) -> None:
    """The task is dead. The caller saves it."""
    finish(state, task, DEAD, reason)


def redrive_dead(state: State, command: RedriveDead) -> BatchReply:
    """Dead tasks become ready again: counters at zero, history kept."""
    return BatchReply([_answer(_redrive(state, task_id)) for task_id in command.task_ids])


def delete_dead(state: State, command: DeleteDead) -> BatchReply:
    """Deletes dead tasks; their ids stay known for the repeat window."""
    return BatchReply([_answer(_delete(state, task_id)) for task_id in command.task_ids])


def _answer(value: Done | Refusal) -> list[object]:
    return [type(value) is Done, value]


def _redrive(state: State, task_id: bytes) -> Done | Refusal:
    task = _dead(state, task_id)
    if isinstance(task, Refusal):
        return task
    state.indices[keys.DEAD].remove(task.ended_wall, task.id)
    task.retries = task.expiries = task.unknown_releases = 0
    task.cancel_requested = False
    task.ended_wall = task.ended_ms = 0
    task.place, task.reason = b"", ""
    make_ready(state, task)
    start_ttl(state, task)
    save_task(state, task)
    state.counters.redriven += 1
    return Done()


def _delete(state: State, task_id: bytes) -> Done | Refusal:
    task = _dead(state, task_id)
    if isinstance(task, Refusal):
        return task
    state.indices[keys.DEAD].remove(task.ended_wall, task.id)
    remove_task(state, task)
    return Done()


def _dead(state: State, task_id: bytes) -> Task | Refusal:
    task = load_task(state, task_id)
    if task is None:
        return refuse(ErrorCode.NOT_FOUND, f"there is no task {shown(task_id)}")
    if task.state != DEAD:
        return refuse(ErrorCode.WRONG_STATE, f"task {shown(task_id)} is not dead")
    return task
