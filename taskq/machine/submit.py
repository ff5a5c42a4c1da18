"""Submitting: one id makes one task, however often it is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

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


def submit_task(state: State, command: SubmitTask) -> Submitted | Refusal:
    """Puts a task into its queue, or finds it there.

    Known ids are answered before any limit is looked at. Refused: INVALID_REQUEST,
    PAYLOAD_TOO_LARGE, QUEUE_FULL, TOO_MANY_QUEUES.
    """
    task_id, view = command.id, state.view
    if task_id is None:
        return refuse(ErrorCode.INVALID_REQUEST, "id: the node that proposes a task names it")
    if is_known(state, task_id):
        return Submitted(task_id)
    head_size = _head_size(command)
    refusal = _refusal(state, command, head_size)
    if refusal is not None:
        return refusal
    queue = state.queues.ensure(command.queue)
    if isinstance(queue, Refusal):
        return queue
    task = _new_task(state, task_id, command, head_size)
    state.counters.submitted += 1
    if command.run_at_wall_ms is not None and command.run_at_wall_ms > state.wall:
        wait_until(state, task, SCHEDULED, BY_WALL, command.run_at_wall_ms)
    elif command.delay_ms:
        wait_until(state, task, SCHEDULED, BY_ELAPSED, state.elapsed + command.delay_ms)
    else:
        make_ready(state, task)
        start_ttl(state, task)
        state.keep_lately(task)
    view.create(keys.TASK + task_id, task.encode())
    if task.payload_size > CONTENT_SIZE_IN_HEAD:
        view.create(keys.PAYLOAD + task_id, pack_raw(command.payload))
    return Submitted(task_id)


def submit_tasks(state: State, command: SubmitTasks) -> BatchReply:
    """Many submits; one bad task does not spoil the others."""
    answers: list[list[object]] = []
    for fields in command.tasks:
        answer = submit_task(state, SubmitTask(*fields))
        answers.append([type(answer) is Submitted, answer])
    return BatchReply(answers)


def is_known(state: State, task_id: bytes) -> bool:
    """Whether the id belongs to a task, or to one that was removed lately."""
    if state.view.get(keys.TASK + task_id) is not None:
        return True
    if state.indices[keys.FORGET_DUE].next() == NEVER:
        return False  # none was removed: spares the look-up
    return state.view.get(keys.FORGOTTEN + task_id) is not None


def _head_size(command: SubmitTask) -> int:
    """What is counted beside the payload: texts can be large, and stay as long as the record."""
    size = RECORD_SIZE + len(command.queue) + len(command.name.encode())
    if command.headers:
        size += sum(len(k.encode()) + len(v.encode()) for k, v in command.headers.items())
    return size


def _refusal(state: State, command: SubmitTask, head_size: int) -> Refusal | None:
    settings, states = state.settings, state.counters.states
    size = len(command.payload)
    if size > settings.payload_size_max:
        text = f"payload: {size} bytes; at most {settings.payload_size_max} (payload_size_max)"
        return refuse(ErrorCode.PAYLOAD_TOO_LARGE, text)
    if size + head_size > CONTENT_SIZE_MAX:
        text = f"payload, name and headers: {size + head_size} bytes do not fit a claim's frame"
        return refuse(ErrorCode.PAYLOAD_TOO_LARGE, text)
    if command.delay_ms and command.run_at_wall_ms is not None:
        text = "delay_ms and run_at_wall_ms: give one of them at most"
        return refuse(ErrorCode.INVALID_REQUEST, text)
    if states[1] + states[2] + states[4] >= settings.queue_depth_threshold:
        text = f"{settings.queue_depth_threshold} tasks are waiting (queue_depth_threshold)"
        return refuse(ErrorCode.QUEUE_FULL, text, RETRY_AFTER_MS)
    if state.counters.waiting_size + size + head_size > settings.queue_bytes_threshold:
        text = f"{state.counters.waiting_size} bytes are waiting (queue_bytes_threshold)"
        return refuse(ErrorCode.QUEUE_FULL, text, RETRY_AFTER_MS)
    return None


def _new_task(state: State, task_id: bytes, command: SubmitTask, head_size: int) -> Task:
    task = Task.__new__(Task)
    task.id = task_id
    task.state = NEW
    task.queue, task.name, task.priority = command.queue, command.name, command.priority
    task.headers, task.payload_size = command.headers, len(command.payload)
    task.content = command.payload if task.payload_size <= CONTENT_SIZE_IN_HEAD else b""
    task.result_size, task.keep_result = -1, command.keep_result
    task.submitted_wall = state.wall
    task.due_clock, task.due_ms, task.due_sequence = NO_DUE, 0, 0
    task.place = b""
    task.ttl_left = NO_TTL if command.ttl_ms is None else command.ttl_ms
    task.ttl_deadline = 0
    task.timeout_ms = command.timeout_ms or 0
    task.max_retries, task.retries = command.max_retries, 0
    task.backoff_ms, task.backoff_max_ms = command.backoff_ms, command.backoff_max_ms
    task.expiries = task.attempt = task.token = 0
    task.worker, task.outcome, task.outcome_state = b"", RUNNING, 0
    task.cancel_requested = False
    task.started_wall = task.started_ms = task.ended_wall = task.ended_ms = 0
    task.reason, task.head_size, task.history_size = "", head_size, 0
    return task
