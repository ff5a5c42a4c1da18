"""Submitting: one id makes one task, however often it is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from taskq.commands import SubmitTask
from taskq.errors import ErrorCode, Refusal, refuse
from taskq.limits import FRAME_MARGIN, FRAME_SIZE_MAX
from taskq.machine import keys
from taskq.machine.due import NEVER
from taskq.machine.ready import make_ready
from taskq.machine.record import pack_raw
from taskq.machine.schedule import wait_until
from taskq.machine.task import (
    BY_ELAPSED,
    BY_WALL,
    CONTENT_SIZE_IN_HEAD,
    NEW,
    NO_DUE,
    NO_TTL,
    RECORD_SIZE,
    RUNNING,
    SCHEDULED,
    Task,
)
from taskq.machine.ttl import start_ttl
from taskq.results import BatchReply, Submitted

if TYPE_CHECKING:
    from taskq.commands import SubmitTasks
    from taskq.machine.state import State

RETRY_AFTER_MS = 1_000
# A task that no frame can carry could never be claimed.
CONTENT_SIZE_MAX = FRAME_SIZE_MAX - FRAME_MARGIN
_DEFAULTS = tuple(SubmitTask._field_defaults.values())
_FIELD_COUNT = len(SubmitTask._fields)


def submit_task(state: State, command: SubmitTask) -> Submitted | Refusal:
    """Puts a task into its queue, or finds it there.

    Known ids are answered before any limit is looked at. Refused: INVALID_REQUEST,
    PAYLOAD_TOO_LARGE, QUEUE_FULL, TOO_MANY_QUEUES.
    """
    return _submit(state, command)


def submit_tasks(state: State, command: SubmitTasks) -> BatchReply:
    """Many submits; one bad task does not spoil the others."""
    answers: list[list[object]] = []
    for fields in command.tasks:
        missing = _FIELD_COUNT - len(fields)
        answer = _submit(state, (*fields, *_DEFAULTS[-missing:]) if missing else fields)
        answers.append([type(answer) is Submitted, answer])
    return BatchReply(answers)


def _submit(state: State, fields: Sequence[Any]) -> Submitted | Refusal:
    """`fields`: those of a `SubmitTask`, in order and all of them."""
    # fmt: off
    (
        task_id, queue, name, payload, priority, delay_ms, run_at_wall_ms, ttl_ms, timeout_ms,
        max_retries, backoff_ms, backoff_max_ms, headers, keep_result,
    ) = fields
    # fmt: on
    if task_id is None:
        return refuse(ErrorCode.INVALID_REQUEST, "id: the node that proposes a task names it")
    if is_known(state, task_id):
        return Submitted(task_id)
    if delay_ms and run_at_wall_ms is not None:
        text = "delay_ms and run_at_wall_ms: give one of them at most"
        return refuse(ErrorCode.INVALID_REQUEST, text)
    head_size = _head_size(queue, name, headers)
    payload_size = len(payload)
    refusal = _refusal(state, payload_size, head_size)
    if refusal is not None:
        return refusal
    found = state.queues.ensure(queue)
    if type(found) is Refusal:
        return found
    task = Task.__new__(Task)
    task.id = task_id
    task.state = NEW
    task.queue, task.name, task.priority = queue, name, priority
    task.headers, task.payload_size, task.keep_result = headers, payload_size, keep_result
    task.content = payload if payload_size <= CONTENT_SIZE_IN_HEAD else b""
    task.ttl_left = NO_TTL if ttl_ms is None else ttl_ms
    task.timeout_ms = timeout_ms or 0
    task.max_retries, task.backoff_ms, task.backoff_max_ms = max_retries, backoff_ms, backoff_max_ms
    task.head_size = head_size
    task.submitted_wall = state.wall
    _begin(task)
    state.counters.submitted += 1
    if run_at_wall_ms is not None and run_at_wall_ms > state.wall:
        wait_until(state, task, SCHEDULED, BY_WALL, run_at_wall_ms)
    elif delay_ms:
        wait_until(state, task, SCHEDULED, BY_ELAPSED, state.elapsed + delay_ms)
    else:
        make_ready(state, task)
        start_ttl(state, task)
        state.keep_lately(task)
    state.view.create(keys.TASK + task_id, task.encode())
    if payload_size > CONTENT_SIZE_IN_HEAD:
        state.view.create(keys.PAYLOAD + task_id, pack_raw(payload))
    return Submitted(task_id)


def _begin(task: Task) -> None:
    """What every task begins with."""
    task.result_size = -1
    task.due_clock, task.outcome = NO_DUE, RUNNING
    task.due_ms = task.due_sequence = task.ttl_deadline = task.retries = task.expiries = 0
    task.attempt = task.token = task.outcome_state = task.history_size = 0
    task.unknown_releases = 0
    task.started_wall = task.started_ms = task.ended_wall = task.ended_ms = 0
    task.place = task.worker = b""
    task.cancel_requested = False
    task.reason = ""


def is_known(state: State, task_id: bytes) -> bool:
    """Whether the id belongs to a task, or to one that was removed lately."""
    if state.view.get(keys.TASK + task_id) is not None:
        return True
    if state.indices[keys.FORGET_DUE].next() == NEVER:
        return False  # none was removed: spares the look-up
    return state.view.get(keys.FORGOTTEN + task_id) is not None


def _head_size(queue: str, name: str, headers: dict[str, str]) -> int:
    """What is counted beside the payload: texts can be large, and stay as long as the record."""
    size = RECORD_SIZE + len(queue) + len(name.encode())
    if headers:
        size += sum(len(k.encode()) + len(v.encode()) for k, v in headers.items())
    return size


def _refusal(state: State, size: int, head_size: int) -> Refusal | None:
    """Whether a limit forbids a task with a payload of `size`."""
    settings, states = state.settings, state.counters.states
    if size > settings.payload_size_max:
        text = f"payload: {size} bytes; at most {settings.payload_size_max} (payload_size_max)"
        return refuse(ErrorCode.PAYLOAD_TOO_LARGE, text)
    if size + head_size > CONTENT_SIZE_MAX:
        text = f"payload, name and headers: {size + head_size} bytes do not fit a claim's frame"
        return refuse(ErrorCode.PAYLOAD_TOO_LARGE, text)
    if states[1] + states[2] + states[4] >= settings.queue_depth_threshold:
        text = f"{settings.queue_depth_threshold} tasks are waiting (queue_depth_threshold)"
        return refuse(ErrorCode.QUEUE_FULL, text, RETRY_AFTER_MS)
    if state.counters.waiting_size + size + head_size > settings.queue_bytes_threshold:
        text = f"{state.counters.waiting_size} bytes are waiting (queue_bytes_threshold)"
        return refuse(ErrorCode.QUEUE_FULL, text, RETRY_AFTER_MS)
    return None
