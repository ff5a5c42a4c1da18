"""Outcomes that a worker reports: complete and fail; release has a file of its own.

Named by (task id, token). The same again is answered the same; an older token is STALE_TOKEN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskq.commands import TaskResult
from taskq.errors import ErrorCode, Refusal, refuse
from taskq.limits import FRAME_MARGIN, FRAME_SIZE_MAX
from taskq.machine import keys
from taskq.machine.ending import finish
from taskq.machine.lease import Lease, stale, valid
from taskq.machine.record import pack_raw
from taskq.machine.retry import fail_run
from taskq.machine.task import (
    COMPLETED,
    CONTENT_SIZE_IN_HEAD,
    DID_COMPLETE,
    DID_FAIL,
    LEASED,
    Task,
    load_task,
    save_task,
)
from taskq.results import BatchReply, OutcomeReply

if TYPE_CHECKING:
    from taskq.commands import Ack, TaskResults
    from taskq.machine.state import State

# A result is read together with the task's headers and attempts: it must fit a frame with them.
CONTENT_SIZE_MAX = FRAME_SIZE_MAX - FRAME_MARGIN
_UNSAID = TaskResult._field_defaults
# The same answer for nearly every task.
_COMPLETED = OutcomeReply(COMPLETED)


def task_result(state: State, command: TaskResult) -> OutcomeReply | Refusal:
    """Completed or failed. Refused: NOT_FOUND, STALE_TOKEN, RESULT_TOO_LARGE."""
    return _report(state, *command)


def task_results(state: State, command: TaskResults) -> BatchReply:
    """Many outcomes; one bad one does not spoil the others."""
    answers: list[list[object]] = []
    for fields in command.outcomes:
        answer = _report(state, *fields)
        answers.append([type(answer) is OutcomeReply, answer])
    return BatchReply(answers)


def _report(
    state: State,
    task_id: bytes,
    token: int,
    ok: bool,
    result: bytes | None = _UNSAID["result"],
    error: str = _UNSAID["error"],
    retry: bool = _UNSAID["retry"],
) -> OutcomeReply | Refusal:
    """`task_result` by the fields of the command."""
    if ok:
        return _complete(state, task_id, token, result)
    lease = valid(state, task_id, token)
    if lease is None:
        return repeated(state, task_id, token, DID_FAIL)
    task = state.leases.task_of(lease)
    end_lease(state, task, lease, DID_FAIL)
    fail_run(state, task, "failed", error, retry=retry)
    save_task(state, task)
    return OutcomeReply(task.outcome_state)


def ack(state: State, command: Ack) -> OutcomeReply | Refusal:
    """Completed without a result."""
    return _complete(state, command.task_id, command.token, None)


def end_lease(state: State, task: Task, lease: Lease, how: int) -> None:
    """Ends the run: its token is no longer valid. `how` is remembered for repeats."""
    assert task.state == LEASED, task.state
    assert task.token == lease.token, "two leases of one task"
    state.leases.remove(lease)
    task.outcome = how


def _complete(
    state: State, task_id: bytes, token: int, result: bytes | None
) -> OutcomeReply | Refusal:
    lease = valid(state, task_id, token)
    if lease is None:
        return repeated(state, task_id, token, DID_COMPLETE)
    task = lease.task or state.leases.task_of(lease)
    size = -1 if result is None else len(result)
    if size > state.settings.result_size_max:
        text = f"result: {size} bytes; at most {state.settings.result_size_max} (result_size_max)"
        return refuse(ErrorCode.RESULT_TOO_LARGE, text)
    if size + task.head_size + task.history_size > CONTENT_SIZE_MAX and result is not None:
        text = f"result: {size} bytes do not fit a frame beside headers and attempts"
        return refuse(ErrorCode.RESULT_TOO_LARGE, text)
    end_lease(state, task, lease, DID_COMPLETE)
    if task.keep_result:
        task.result_size = size
    state.counters.completed += 1
    state.counters.observe(state.elapsed - task.started_ms)
    finish(state, task, COMPLETED, "")
    if result is not None and task.keep_result:
        if size <= CONTENT_SIZE_IN_HEAD:
            task.content = result
        else:
            state.view.create(keys.RESULT + task_id, pack_raw(result))
    task.outcome_state = COMPLETED
    save_task(state, task)
    return _COMPLETED


def repeated(state: State, task_id: bytes, token: int, how: int) -> OutcomeReply | Refusal:
    """The answer where the token is not valid: the same as before, or that it is stale."""
    task = load_task(state, task_id)
    if task is not None and task.token == token and task.outcome == how:
        return OutcomeReply(task.outcome_state)
    return stale(state, task_id)
