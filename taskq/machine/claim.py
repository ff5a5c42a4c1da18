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
from taskq.machine.lease import Claim, Lease, begin_run, lease_ms_for
from taskq.machine.queue import Queue
from taskq.machine.ready import leave_ready
from taskq.machine.record import unpack_raw
from taskq.machine.task import (
    CONTENT_SIZE_IN_HEAD,
    EXPIRED,
    HEADS_AT_ONCE,
    LEASED,
    READY,
    Task,
    find_task,
    move,
    read_heads,
)
from taskq.machine.ttl import has_run_out, stop_ttl
from taskq.results import Claimed, ClaimedTask

if TYPE_CHECKING:
    from taskq.commands import ClaimTask
    from taskq.machine.state import State

# Tasks whose TTL ran out that one claim may meet and expire: bounds the work of one entry.
_EXPIRED_MAX = 100


class Granted(NamedTuple):
    """What a claim returned, before the payloads are read: only the node that answers the worker
    needs them (`with_payloads`)."""

    tasks: list[tuple[Task, Lease]]
    max_tasks: int


def why_no_claim(command: ClaimTask) -> Refusal | None:
    """Why a claim makes no sense and must not get into the log, or None: it says that its own
    answer has come, which would forget claims that are yet to be made."""
    if command.lowest_unanswered <= command.claim_number:
        return None
    text = f"lowest_unanswered: at most the claim's own number, {command.claim_number}"
    return refuse(ErrorCode.INVALID_REQUEST, text)


def claim_task(state: State, command: ClaimTask) -> Granted | Refusal:
    """Gives out ready tasks; a repeated claim returns those of its tasks that are still valid."""
    worker = state.workers.contact(state, command.worker_id)
    if isinstance(worker, Refusal):
        return worker
    count_max = min(command.max_tasks, state.settings.max_batch_claim, CLAIM_COUNT_MAX)
    state.workers.forget_claims(state, worker, command.lowest_unanswered)
    state.workers.changed(worker)
    if worker.leaving or command.claim_number < worker.claim_floor:
        return Granted([], count_max)
    remembered = worker.claims.get(command.claim_number)
    if remembered is not None:
        return Granted(_granted(state, remembered), count_max)
    if len(worker.claims) >= CLAIMS_REMEMBERED_MAX:
        text = f"{CLAIMS_REMEMBERED_MAX} claims of this worker are unanswered"
        return refuse(ErrorCode.TOO_MANY_CLAIMS, text, 1_000)
    room = LEASES_PER_WORKER_MAX - worker.leased
    if room <= 0:
        text = f"this worker holds {LEASES_PER_WORKER_MAX} tasks; a heartbeat can name no more"
        return refuse(ErrorCode.TOO_MANY_CLAIMS, text, 1_000)
    claim = Claim(worker, command.claim_number, state.wall, state.elapsed)
    _take(state, claim, command, min(count_max, room))
    if claim.leases:
        state.leases.add(claim)
    return Granted(_granted(state, claim), count_max)


def _granted(state: State, claim: Claim) -> list[tuple[Task, Lease]]:
    task_of = state.leases.task_of
    return [(lease.task or task_of(lease), lease) for lease in claim.leases.values()]


def _take(state: State, claim: Claim, command: ClaimTask, count_max: int) -> None:
    room = FRAME_SIZE_MAX - FRAME_MARGIN
    ahead: dict[bytes, Task] = {}
    expired_max = _EXPIRED_MAX
    for name in command.queues:
        queue = state.queues.find(name)
        if queue is None or queue.paused:
            continue
        lease_ms = lease_ms_for(state, queue.lease_ms, command.lease_ms)
        if claim.leases:
            claim.plain = False  # those of this queue may be longer or shorter
        while len(claim.leases) < count_max and expired_max:
            task = _next(state, queue, ahead, count_max - len(claim.leases))
            if task is None:
                break
            if has_run_out(state, task):
                end_waiting(state, task, EXPIRED, "TTL ended before a worker took it")
                expired_max -= 1
                continue
            # `head_size` holds more than ids, times and the lengths of 32 headers need in a frame.
            room -= task.payload_size + task.head_size
            if room < 0 and claim.leases:
                queue.window.push(task.place, task.id)
                return
            _grant(state, claim, task, lease_ms)
        if not expired_max:
            state.readied.add(name)  # there may be more behind: whoever waits should look again


def _next(state: State, queue: Queue, ahead: dict[bytes, Task], count: int) -> Task | None:
    """The first ready task of a queue; places of tasks that are no longer ready are dropped.
    `ahead`: heads that this claim has read; `count`: how many tasks it still wants."""
    while (found := queue.window.pop()) is not None:
        place, task_id = found
        task = ahead.pop(task_id, None) or find_task(state, task_id)
        if task is None:
            heads = [task_id, *queue.window.upcoming(min(count, HEADS_AT_ONCE) - 1)]
            ahead.update(read_heads(state, heads))
            task = ahead.pop(task_id, None)
        if task is not None and task.state == READY and task.place == place:
            queue.took(place)
            return task
    return None


def _grant(state: State, claim: Claim, task: Task, lease_ms: int) -> None:
    stop_ttl(state, task)
    leave_ready(state, task)
    move(state, task, LEASED)
    state.token += 1
    state.counters.claimed += 1
    deadline, run_deadline = state.elapsed + lease_ms, 0
    if task.timeout_ms:
        run_deadline = state.elapsed + task.timeout_ms
        deadline = min(deadline, run_deadline)
        claim.plain = False
    token = state.token
    lease = Lease(claim, token, task.id, lease_ms, deadline, run_deadline)
    claim.leases[token] = lease
    begin_run(task, lease)


def with_payloads(state: State, granted: Granted) -> Claimed:
    """The reply to a claim. To be called before the next entry is applied."""
    tasks = []
    for task, lease in granted.tasks:
        if state.leases.by_token.get(lease.token) is not lease:
            continue  # taken away within the same entry
        payload = task.content
        if task.payload_size > CONTENT_SIZE_IN_HEAD:
            stored = state.view.get(keys.PAYLOAD + task.id)
            assert stored is not None, "a running task without its payload"
            payload = unpack_raw(stored)
        fields = (task.id, lease.token, task.queue, task.name, payload, task.headers)
        times = (lease.lease_ms, task.timeout_ms or None, task.submitted_wall)
        tasks.append(ClaimedTask(*fields, task.priority, task.attempt, *times))
    return Claimed(tasks, granted.max_tasks)
