"""Leases: who runs a task until when, under which token.

    claim --> lease --heartbeat, extend--> longer --complete, fail, release, expiry, death--> gone

A lease ends only by an entry. The leases of one claim stand in one record, `c <worker> <number>`,
written once per entry in which they changed. It stays while one of them is left, or while the claim
may be repeated. All leases are in memory: by token, by task, by claim, and in a heap by deadline
whose entries may be too early (a heartbeat does not touch it).
"""

from __future__ import annotations

from heapq import nsmallest
from typing import TYPE_CHECKING

from taskq.errors import ErrorCode, Refusal, refuse
from taskq.limits import LEASE_MS_DEFAULT
from taskq.machine import keys
from taskq.machine.deadline_heap import DeadlineHeap
from taskq.machine.record import pack, unpack
from taskq.machine.task import LEASED, RUNNING, Task, load_task, read_head, shown
from taskq.machine.ttl import hold_ttl
from taskq.machine.view import View
from taskq.results import Done, Extended

if TYPE_CHECKING:
    from taskq.commands import ExtendLease, SkipTokens
    from taskq.machine.state import State
    from taskq.machine.worker import Worker, Workers

# Records of claims read at once; one of a thousand leases has 20 KiB.
_SCAN_COUNT = 500
_ID_SIZE = 16


class Claim:
    """What one claim gave out. `leases`: by token, as far as they are left; `stored`: the record is
    there; `plain`: all leases are as long as the first, without a timeout, and as they were."""

    __slots__ = ("leases", "number", "plain", "started_ms", "started_wall", "stored", "worker")

    def __init__(self, worker: Worker, number: int, started_wall: int, started_ms: int) -> None:
        self.worker = worker
        self.number = number
        self.started_wall = started_wall
        self.started_ms = started_ms
        self.leases: dict[int, Lease] = {}
        self.plain = True
        self.stored = False

    @property
    def key(self) -> bytes:
        """Key of the record."""
        return keys.claim_key(self.worker.id, self.number)

    def encode(self) -> bytes:
        """The record: what leases have in common, tokens, ids, and leases that differ from that."""
        leases = self.leases
        lease_ms = next(iter(leases.values())).lease_ms if leases else 0
        ids = b"".join([lease.task_id for lease in leases.values()])
        others = []
        if not self.plain:
            usual = (lease_ms, self.started_ms + lease_ms, 0, False)
            terms = [(token, lease.terms) for token, lease in leases.items()]
            others = [(token, *own) for token, own in terms if own != usual]
        return pack(self.started_wall, self.started_ms, lease_ms, list(leases), ids, others)

    @classmethod
    def decode(cls, worker: Worker, number: int, record: bytes) -> Claim:
        """The claim of a record, with its leases."""
        started_wall, started_ms, lease_ms, tokens, ids, others = unpack(record)
        claim = cls(worker, number, started_wall, started_ms)
        claim.stored, claim.plain = True, not others
        own = {token: terms for token, *terms in others}
        usual = (lease_ms, started_ms + lease_ms, 0, False)
        for position, token in enumerate(tokens):
            task_id = ids[position * _ID_SIZE : (position + 1) * _ID_SIZE]
            claim.leases[token] = Lease(claim, token, task_id, *own.get(token, usual))
        return claim


def lease_count(record: bytes) -> int:
    """How many leases a claim's record holds."""
    tokens: list[int] = unpack(record)[3]
    return len(tokens)


class Lease:
    """One lease. Times in cluster time; `run_deadline` 0 means no timeout."""

    __slots__ = (
        *("claim", "token", "task_id", "lease_ms", "deadline", "run_deadline"),
        *("cancel_requested", "task"),
    )

    def __init__(
        self,
        claim: Claim,
        token: int,
        task_id: bytes,
        lease_ms: int,
        deadline: int,
        run_deadline: int,
        cancel_requested: bool = False,
    ) -> None:
        self.claim = claim
        self.token = token
        self.task_id = task_id
        self.lease_ms = lease_ms
        self.deadline = deadline
        self.run_deadline = run_deadline
        self.cancel_requested = cancel_requested
        # The task, once somebody has read it: the one that everybody changes (`task_of`).
        self.task: Task | None = None

    @property
    def worker_id(self) -> bytes:
        """Who holds it."""
        return self.claim.worker.id

    @property
    def terms(self) -> tuple[int, int, int, bool]:
        """What the record says of it."""
        return self.lease_ms, self.deadline, self.run_deadline, self.cancel_requested


def begin_run(task: Task, lease: Lease) -> None:
    """What a lease changes in its task: when it is claimed, and after a restart."""
    claim = lease.claim
    hold_ttl(task, claim.started_ms)
    task.token, task.worker, task.outcome = lease.token, claim.worker.id, RUNNING
    task.attempt += 1
    task.started_wall, task.started_ms = claim.started_wall, claim.started_ms
    task.cancel_requested = lease.cancel_requested
    lease.task = task


class Leases:
    """All leases."""

    __slots__ = ("_changed", "_deadlines", "_view", "by_task", "by_token")

    def __init__(self, view: View, workers: Workers) -> None:
        self._view = view
        self.by_token: dict[int, Lease] = {}
        self.by_task: dict[bytes, Lease] = {}
        self._changed: dict[Claim, None] = {}  # in the order of the changes
        after = None
        while found := view.scan(keys.CLAIM, after, _SCAN_COUNT):
            after = found[-1][0]
            for key, record in found:
                worker = workers.find(key[1:17])
                assert worker is not None, "a claim of an unknown worker"
                self._hold(Claim.decode(worker, keys.from_u64(key[17:]), record))
        self._deadlines = DeadlineHeap(self.by_token)

    def _hold(self, claim: Claim) -> None:
        for token, lease in claim.leases.items():
            self.by_token[token] = self.by_task[lease.task_id] = lease
        claim.worker.hold(claim)

    def add(self, claim: Claim) -> None:
        """A claim gave out tasks: it has leases."""
        self._hold(claim)
        self._changed[claim] = None
        for token, lease in claim.leases.items():
            self._deadlines.push(token, lease.deadline)

    def remove(self, lease: Lease) -> None:
        """The run ended."""
        claim = lease.claim
        del self.by_token[lease.token]
        del self.by_task[lease.task_id]
        del claim.leases[lease.token]
        claim.worker.leased -= 1
        if not claim.leases:
            del claim.worker.holding[claim.number]
        self._changed[claim] = None

    def extend(self, lease: Lease, deadline: int) -> None:
        """Moves the deadline, never past the end of the run's timeout, and never back: a heartbeat
        does not take away what an extension gave."""
        if lease.run_deadline:
            deadline = min(deadline, lease.run_deadline)
        if deadline > lease.deadline:
            lease.deadline = deadline
            self.changed(lease.claim)

    def changed(self, claim: Claim) -> None:
        """One of its leases is not any more as it was given out."""
        claim.plain = False
        self._changed[claim] = None

    def confirmed(self, claim: Claim) -> None:
        """The claim will not be repeated."""
        if not claim.leases:
            self._changed[claim] = None

    def drop(self, claim: Claim) -> None:
        """Its worker is forgotten; no lease is left."""
        self._changed.pop(claim, None)
        if claim.stored:
            self._view.delete(claim.key)

    def save(self) -> None:
        """Writes the records of claims that changed."""
        for claim in self._changed:
            if claim.leases or claim.number >= claim.worker.claim_floor:
                write = self._view.put if claim.stored else self._view.create
                write(claim.key, claim.encode())
                claim.stored = True
            elif claim.stored:
                self._view.delete(claim.key)
        self._changed.clear()

    def task_of(self, lease: Lease) -> Task:
        """The task under a lease: the same object each time."""
        task = lease.task
        if task is None:
            task = read_head(self._view, lease.task_id)
            assert task is not None, "a lease without a task"
            task.state = LEASED
            begin_run(task, lease)
        return task

    def oldest(self, worker: Worker, count: int) -> list[Lease]:
        """At most `count` leases of a worker, by token."""
        tokens = [token for claim in worker.holding.values() for token in claim.leases]
        return [self.by_token[token] for token in nsmallest(count, tokens)]

    def next_deadline(self) -> int:
        """The earliest deadline, or NEVER."""
        return self._deadlines.next()

    def take_due(self, until: int) -> Lease | None:
        """The lease that ends first, if it ends not later than `until`. It stays held."""
        return self._deadlines.first(until)


def lease_ms_for(state: State, queue_lease_ms: int, wanted: int | None) -> int:
    """Length of a lease: the claim's, else the queue's, else the broker's."""
    return wanted or queue_lease_ms or state.settings.lease_ms or LEASE_MS_DEFAULT


def valid(state: State, task_id: bytes, token: int) -> Lease | None:
    """The lease of the task, if the token is valid."""
    lease = state.leases.by_task.get(task_id)
    return lease if lease is not None and lease.token == token else None


def stale(state: State, task_id: bytes) -> Refusal:
    """What a token that is not valid is answered with: NOT_FOUND or STALE_TOKEN."""
    if load_task(state, task_id) is None:
        return refuse(ErrorCode.NOT_FOUND, f"there is no task {shown(task_id)}")
    text = f"the token for task {shown(task_id)} is not valid (any more); nothing was changed"
    return refuse(ErrorCode.STALE_TOKEN, text)


def skip_tokens(state: State, command: SkipTokens) -> Done:
    """The next claim's token is higher than any that was given by entries which are lost."""
    state.token += command.skipped
    return Done()


def extend_lease(state: State, command: ExtendLease) -> Extended | Refusal:
    """A longer lease under the same token."""
    lease = valid(state, command.task_id, command.token)
    if lease is None:
        return stale(state, command.task_id)
    length = command.lease_ms or lease.lease_ms
    state.workers.touch(state, lease.worker_id)
    state.leases.extend(lease, state.elapsed + length)
    # A lease whose time is over is valid until an `Advance` takes it: nothing is left of it then.
    return Extended(max(lease.deadline - state.elapsed, 0), lease.cancel_requested)
