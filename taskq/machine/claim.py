"""Claiming: the next ready tasks of the queues, under a lease and a new token each."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from taskq.errors import ErrorCode, Refusal, refuse
from taskq.limits import (
    CLAIM_COUNT_MAX,
    CLAIMS_REMEMBERED_MAX,
    FRAME_MARGIN,
    FRAME_SIZE_MAX,
    LEASES_PER_WORKER_MAX,
)
from taskq.machine import keys
from taskq.machine.ending import end_waiting
from taskq.machine.lease import Lease, lease_ms_for, running
from taskq.machine.queue import Queue
from taskq.machine.ready import leave_ready
from taskq.machine.record import unpack_raw
from taskq.machine.task import (
    EXPIRED,
    LEASED,
    READY,
    RUNNING,
    Task,
    load_task,
    move,
    save_task,
)
from taskq.machine.ttl import has_run_out, stop_ttl
from taskq.results import Claimed, ClaimedTask

if TYPE_CHECKING:
    from taskq.commands import ClaimTask
    from taskq.machine.state import State
    from taskq.machine.worker import Worker

# Tasks whose TTL ran out that one claim may meet and expire: bounds the work of one entry.
_EXPIRED_MAX = 100


class Granted(NamedTuple):
    """What a claim returned, before the payloads are read: only the node that answers the worker
    needs them (`with_payloads`)."""

    tasks: list[tuple[Task, Lease]]
    max_tasks: int


def claim_task(state: State, command: ClaimTask) -> Granted | Refusal:
    """Gives out ready tasks; a repeated claim returns those of its tasks that are still valid."""
    worker = state.workers.contact(state, command.worker_id)
    if isinstance(worker, Refusal):
        return worker
    count_max = min(command.max_tasks, state.settings.max_batch_claim, CLAIM_COUNT_MAX)
    state.workers.forget_claims(worker, command.lowest_unanswered)
    state.workers.save(worker)
    if worker.leaving or command.claim_number < worker.claim_floor:
        return Granted([], count_max)
    remembered = worker.claims.get(command.claim_number)
    if remembered is not None:
        return Granted(_still_valid(state, worker, remembered), count_max)
    if len(worker.claims) >= CLAIMS_REMEMBERED_MAX:
        text = f"{CLAIMS_REMEMBERED_MAX} claims of this worker are unanswered"
        return refuse(ErrorCode.TOO_MANY_CLAIMS, text, 1_000)
    room = LEASES_PER_WORKER_MAX - len(state.leases.held_by(worker.id))
    if room <= 0:
        text = f"this worker holds {LEASES_PER_WORKER_MAX} tasks; a heartbeat can name no more"
        return refuse(ErrorCode.TOO_MANY_CLAIMS, text, 1_000)
    granted = _take(state, worker, command, min(count_max, room))
    if granted:
        tokens = [lease.token for _, lease in granted]
        state.workers.remember(worker, command.claim_number, tokens)
    return Granted(granted, count_max)


def _still_valid(state: State, worker: Worker, tokens: list[int]) -> list[tuple[Task, Lease]]:
    found = []
    for token in tokens:
        lease = state.leases.by_token.get(token)
        if lease is not None and lease.worker_id == worker.id:
            found.append((running(state, lease), lease))
    return found


def _take(
    state: State, worker: Worker, command: ClaimTask, count_max: int
) -> list[tuple[Task, Lease]]:
    granted: list[tuple[Task, Lease]] = []
    room = FRAME_SIZE_MAX - FRAME_MARGIN
    expired_max = _EXPIRED_MAX
    for name in command.queues:
        queue = state.queues.find(name)
        if queue is None or queue.paused:
            continue
        lease_ms = lease_ms_for(state, queue.lease_ms, command.lease_ms)
        while len(granted) < count_max and expired_max:
            task = _next(state, queue)
            if task is None:
                break
            if has_run_out(state, task):
                end_waiting(state, task, EXPIRED, "TTL ended before a worker took it")
                expired_max -= 1
                continue
            # `head_size` holds more than ids, times and the lengths of 32 headers need in a frame.
            room -= task.payload_size + task.head_size
            if room < 0 and granted:
                queue.window.push(task.rank, task.sequence, task.id)
                return granted
            granted.append((task, _grant(state, worker, task, lease_ms)))
        if not expired_max:
            state.readied.add(name)  # there may be more behind: whoever waits should look again
    return granted


def _next(state: State, queue: Queue) -> Task | None:
    """The first ready task of a queue; places of tasks that are no longer ready are dropped."""
    while (found := queue.window.pop()) is not None:
        rank, sequence, task_id = found
        task = load_task(state, task_id)
        if task is not None and task.state == READY and task.sequence == sequence:
            queue.took(rank, sequence)
            return task
    return None


def _grant(state: State, worker: Worker, task: Task, lease_ms: int) -> Lease:
    stop_ttl(state, task)
    leave_ready(state, task)
    move(state, task, LEASED)
    state.token += 1
    task.token, task.worker, task.outcome = state.token, worker.id, RUNNING
    task.attempt += 1
    task.started_wall, task.started_ms = state.wall, state.elapsed
    run_deadline = state.elapsed + task.timeout_ms if task.timeout_ms else 0
    deadline = state.elapsed + lease_ms
    if run_deadline:
        deadline = min(deadline, run_deadline)
    lease = Lease(task.id, task.token, worker.id, deadline, lease_ms, run_deadline)
    lease.task = task
    state.leases.add(lease)
    state.counters.claimed += 1
    save_task(state, task)
    return lease


def with_payloads(state: State, granted: Granted) -> Claimed:
    """The reply to a claim. To be called before the next entry is applied."""
    tasks = []
    for task, lease in granted.tasks:
        if state.leases.by_token.get(lease.token) is not lease:
            continue  # taken away within the same entry
        payload = b""
        if task.payload_size:
            stored = state.view.get(keys.PAYLOAD + task.id)
            assert stored is not None, "a running task without its payload"
            payload = unpack_raw(stored)
        fields = (task.id, lease.token, task.queue, task.name, payload, task.headers)
        times = (lease.lease_ms, task.timeout_ms or None, task.submitted_wall)
        tasks.append(ClaimedTask(*fields, task.priority, task.attempt, *times))
    return Claimed(tasks, granted.max_tasks)
