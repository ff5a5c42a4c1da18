"""Leases: who runs a task until when, under which token.

    claim --> lease --heartbeat, extend--> longer --complete, fail, release, expiry, death--> gone

A lease ends only by an entry; the record `l <id>` holds it. All leases are in memory: by token, by
worker, and in a heap by deadline whose entries may be too early (a heartbeat does not touch it).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskq.errors import ErrorCode, Refusal, refuse
from taskq.limits import LEASE_MS_DEFAULT
from taskq.machine import keys
from taskq.machine.deadline_heap import DeadlineHeap
from taskq.machine.record import pack, unpack
from taskq.machine.task import Task, load_task, shown
from taskq.machine.view import View
from taskq.results import Extended

if TYPE_CHECKING:
    from taskq.commands import ExtendLease
    from taskq.machine.state import State


class Lease:
    """One lease. Times in cluster time; `run_deadline` 0 means no timeout."""

    __slots__ = (
        *("deadline", "lease_ms", "run_deadline", "task_id", "token", "worker_id"),
        *("cancel_requested", "task"),
    )

    def __init__(
        self,
        task_id: bytes,
        token: int,
        worker_id: bytes,
        deadline: int,
        lease_ms: int,
        run_deadline: int,
        cancel_requested: bool = False,
    ) -> None:
        self.task_id = task_id
        self.token = token
        self.worker_id = worker_id
        self.deadline = deadline
        self.lease_ms = lease_ms
        self.run_deadline = run_deadline
        self.cancel_requested = cancel_requested
        # The task's head, once somebody has read it: whoever changes a running task changes this
        # one and saves it (`running`).
        self.task: Task | None = None

    def encode(self) -> bytes:
        """The lease's record."""
        times = (self.deadline, self.lease_ms, self.run_deadline)
        return pack(self.token, self.worker_id, *times, self.cancel_requested)


class Leases:
    """All leases."""

    __slots__ = ("_deadlines", "_view", "by_token", "by_worker")

    def __init__(self, view: View) -> None:
        self._view = view
        self.by_token: dict[int, Lease] = {}
        self.by_worker: dict[bytes, dict[int, Lease]] = {}
        after = None
        while found := view.scan(keys.LEASE, after, 10_000):
            after = found[-1][0]
            for key, record in found:
                token, worker_id, *rest = unpack(record)
                self._hold(Lease(key[1:], token, worker_id, *rest))
        self._deadlines = DeadlineHeap(self.by_token)

    def _hold(self, lease: Lease) -> None:
        self.by_token[lease.token] = lease
        self.by_worker.setdefault(lease.worker_id, {})[lease.token] = lease

    def add(self, lease: Lease) -> None:
        """A claim gave out a task."""
        self._hold(lease)
        self._deadlines.push(lease.token, lease.deadline)
        self._view.create(keys.LEASE + lease.task_id, lease.encode())

    def remove(self, lease: Lease) -> None:
        """The run ended."""
        del self.by_token[lease.token]
        held = self.by_worker[lease.worker_id]
        del held[lease.token]
        if not held:
            del self.by_worker[lease.worker_id]
        self._view.delete(keys.LEASE + lease.task_id)

    def extend(self, lease: Lease, deadline: int) -> None:
        """Moves the deadline, never past the end of the run's timeout, and never back: a heartbeat
        does not take away what an extension gave."""
        if lease.run_deadline:
            deadline = min(deadline, lease.run_deadline)
        if deadline > lease.deadline:
            lease.deadline = deadline
            self.save(lease)

    def save(self, lease: Lease) -> None:
        """Writes the lease's record."""
        self._view.put(keys.LEASE + lease.task_id, lease.encode())

    def held_by(self, worker_id: bytes) -> dict[int, Lease]:
        """Token -> lease of one worker."""
        return self.by_worker.get(worker_id, {})

    def next_deadline(self) -> int:
        """The earliest deadline, or NEVER."""
        return self._deadlines.next()

    def take_due(self, until: int) -> Lease | None:
        """The lease that ends first, if it ends not later than `until`. It stays held."""
        return self._deadlines.first(until)


def lease_ms_for(state: State, queue_lease_ms: int, wanted: int | None) -> int:
    """Length of a lease: the claim's, else the queue's, else the broker's."""
    return wanted or queue_lease_ms or state.settings.lease_ms or LEASE_MS_DEFAULT


def owned(state: State, task_id: bytes, token: int) -> tuple[Task, Lease] | Refusal:
    """The task and its lease, if the token is valid. Refused: NOT_FOUND, STALE_TOKEN."""
    lease = state.leases.by_token.get(token)
    if lease is not None and lease.task_id == task_id:
        return running(state, lease), lease
    return stale(state, task_id)


def running(state: State, lease: Lease) -> Task:
    """The task under a lease: the same object each time."""
    if lease.task is None:
        lease.task = load_task(state, lease.task_id)
        assert lease.task is not None, "a lease without a task"
    return lease.task


def stale(state: State, task_id: bytes) -> Refusal:
    """What a token that is not valid is answered with."""
    if state.view.get(keys.TASK + task_id) is None:
        return refuse(ErrorCode.NOT_FOUND, f"there is no task {shown(task_id)}")
    text = f"the token for task {shown(task_id)} is not valid (any more); nothing was changed"
    return refuse(ErrorCode.STALE_TOKEN, text)


def extend_lease(state: State, command: ExtendLease) -> Extended | Refusal:
    """A longer lease under the same token."""
    found = owned(state, command.task_id, command.token)
    if isinstance(found, Refusal):
        return found
    task, lease = found
    length = command.lease_ms or lease.lease_ms
    state.workers.touch(state, lease.worker_id)
    state.leases.extend(lease, state.elapsed + length)
    # A lease whose time is over is valid until an `Advance` takes it: nothing is left of it then.
    return Extended(max(lease.deadline - state.elapsed, 0), task.cancel_requested)
