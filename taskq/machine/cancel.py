"""Cancelling: waiting tasks at once, running ones by asking their worker, or by force."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskq.errors import ErrorCode, Refusal, refuse
from taskq.limits import LIST_SCAN_MAX
from taskq.machine import keys
from taskq.machine.ending import cancel_now, end_waiting, record_attempt
from taskq.machine.lease import Lease
from taskq.machine.outcome import end_lease
from taskq.machine.task import (
    CANCELLED,
    LEASED,
    WAITING_STATES,
    WAS_TAKEN,
    Task,
    load_task,
    save_task,
    shown,
)
from taskq.results import CancelReply, Purged

if TYPE_CHECKING:
    from taskq.commands import CancelTask, PurgeQueue
    from taskq.machine.state import State


def cancel_task(state: State, command: CancelTask) -> CancelReply | Refusal:
    """Cancels a task, or wants it cancelled. A task that has ended stays as it is: the reply tells.

    Refused: NOT_FOUND."""
    task = load_task(state, command.task_id)
    if task is None:
        return refuse(ErrorCode.NOT_FOUND, f"there is no task {shown(command.task_id)}")
    if task.state in WAITING_STATES:
        end_waiting(state, task, CANCELLED, "cancelled")
    elif task.state == LEASED:
        lease = state.leases.by_token[task.token]
        _cancel_running(state, task, lease, force=command.force)
    return CancelReply(task.state, task.state == LEASED)


def _cancel_running(state: State, task: Task, lease: Lease, *, force: bool) -> None:
    from taskq.machine.state import CancelWanted

    state.cancels.append(CancelWanted(task.id, task.token, lease.worker_id))
    if force:
        end_lease(state, task, lease, WAS_TAKEN)
        record_attempt(state, task, "cancelled", "")
        cancel_now(state, task, "cancelled by force")
        save_task(state, task)
    elif not task.cancel_requested:
        task.cancel_requested = lease.cancel_requested = True
        state.leases.changed(lease.claim)


def purge_queue(state: State, command: PurgeQueue) -> Purged | Refusal:
    """Cancels at most `limit` waiting tasks of a queue, the ready ones first; never leased ones."""
    queue = state.queues.find(command.queue)
    if queue is None:
        return refuse(ErrorCode.NOT_FOUND, f"there is no queue {command.queue}")
    limit = min(command.limit, LIST_SCAN_MAX)
    prefix = queue.window.prefix
    ready = state.view.scan(prefix, prefix + keys.before(queue.low), limit)
    if ready:
        queue.took(ready[-1][0][len(prefix) :])
    ids = [task_id for _, task_id in ready]
    prefix = keys.waiting_prefix(command.queue)
    waiting = state.view.scan(prefix, None, limit - len(ids)) if len(ids) < limit else []
    ids += [key[len(prefix) :] for key, _ in waiting]
    for task_id in ids:
        task = load_task(state, task_id)
        assert task is not None, "an index without a task"
        end_waiting(state, task, CANCELLED, "purged")
    counts = queue.counts
    return Purged(len(ids), queue.ready + counts[3] + counts[4] > 0)
