"""Workers: who they are, when they were last in contact, what their claims returned.

    (unknown) --register, claim, heartbeat--> known --deregister--> leaving --released--> gone
                                                    --two intervals without contact--> dead

Any claim, heartbeat or extension is a contact. Dead or deregistered workers are forgotten; what
they held goes back.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from taskq.errors import ErrorCode, Refusal, refuse
from taskq.limits import (
    DEAD_WORKER_INTERVALS,
    HEARTBEAT_INTERVAL_MS_DEFAULT,
    WORKER_COUNT_MAX,
)
from taskq.machine import keys
from taskq.machine.deadline_heap import DeadlineHeap
from taskq.machine.record import pack, unpack
from taskq.machine.view import View
from taskq.results import HeartbeatReply, Registered

if TYPE_CHECKING:
    from taskq.commands import Heartbeat, RegisterWorker
    from taskq.machine.lease import Claim
    from taskq.machine.state import State


class Worker:
    """One worker. `claim_floor`: claims below it are forgotten. By number, `claims`: those that may
    be repeated; `holding`: those of which leases are left, `leased` in all."""

    __slots__ = (
        *("id", "name", "concurrency", "interval_ms", "seen_ms", "claim_floor"),
        *("cpu_permille", "memory_size", "registered_wall", "leaving"),
        *("claims", "holding", "leased"),
    )

    def __init__(self, worker_id: bytes, elapsed: int, wall: int) -> None:
        self.id = worker_id
        self.name = ""
        self.concurrency = 1
        self.interval_ms = HEARTBEAT_INTERVAL_MS_DEFAULT
        self.seen_ms = elapsed
        self.claim_floor = 1
        self.cpu_permille = 0
        self.memory_size = 0
        self.registered_wall = wall
        # It deregistered while it held more than one entry may release; `Advance` does the rest.
        self.leaving = False
        self.claims: dict[int, Claim] = {}
        self.holding: dict[int, Claim] = {}
        self.leased = 0

    @property
    def deadline(self) -> int:
        """When the worker counts as dead, in cluster time; a leaving one is due at once."""
        if self.leaving:
            return 0
        return self.seen_ms + DEAD_WORKER_INTERVALS * self.interval_ms

    def hold(self, claim: Claim) -> None:
        """Takes in what a claim gave out."""
        if claim.number >= self.claim_floor:
            self.claims[claim.number] = claim
        if claim.leases:
            self.holding[claim.number] = claim
            self.leased += len(claim.leases)

    def encode(self) -> bytes:
        """The worker's record."""
        return pack(
            *(self.name, self.concurrency, self.interval_ms, self.seen_ms, self.claim_floor),
            *(self.cpu_permille, self.memory_size, self.registered_wall, self.leaving),
        )

    def decode(self, record: bytes) -> Worker:
        """Fills in the fields of a record."""
        fields = unpack(record)
        self.name, self.concurrency, self.interval_ms, self.seen_ms = fields[:4]
        self.claim_floor, self.cpu_permille, self.memory_size = fields[4:7]
        self.registered_wall, self.leaving = fields[7:]
        return self


class Workers:
    """All workers, in memory; a heap by deadline whose entries may be too early."""

    __slots__ = ("_changed", "_deadlines", "_view", "_workers")

    def __init__(self, view: View) -> None:
        self._view = view
        self._workers: dict[bytes, Worker] = {}
        for key, record in view.scan(keys.WORKER, None, WORKER_COUNT_MAX):
            self._workers[key[1:]] = Worker(key[1:], 0, 0).decode(record)
        self._changed: dict[bytes, Worker] = {}
        self._deadlines = DeadlineHeap(self._workers)

    def __len__(self) -> int:
        return len(self._workers)

    def find(self, worker_id: bytes) -> Worker | None:
        """The worker, or None."""
        return self._workers.get(worker_id)

    def ids(self) -> Iterable[bytes]:
        """All ids, in no order."""
        return self._workers.keys()

    def contact(self, state: State, worker_id: bytes) -> Worker | Refusal:
        """The worker, made known if it is not, seen now. The caller calls `changed`.

        Refused: TOO_MANY_WORKERS."""
        worker = self._workers.get(worker_id)
        if worker is None:
            if len(self._workers) >= WORKER_COUNT_MAX:
                text = f"{WORKER_COUNT_MAX} workers are known; no more can register"
                return refuse(ErrorCode.TOO_MANY_WORKERS, text, 1_000)
            worker = self._workers[worker_id] = Worker(worker_id, state.elapsed, state.wall)
            self._deadlines.push(worker.id, worker.deadline)
        worker.seen_ms = state.elapsed
        return worker

    def touch(self, state: State, worker_id: bytes) -> None:
        """Notes that a known worker was in contact."""
        worker = self._workers.get(worker_id)
        if worker is not None and worker.seen_ms != state.elapsed:
            worker.seen_ms = state.elapsed
            self.changed(worker)

    def changed(self, worker: Worker) -> None:
        """The record has to be written at the end of this entry."""
        self._changed[worker.id] = worker

    def save(self) -> None:
        """Writes the records of workers that changed."""
        for worker_id, worker in self._changed.items():
            self._view.put(keys.WORKER + worker_id, worker.encode())
        self._changed.clear()

    def sooner(self, worker: Worker) -> None:
        """The worker's deadline may have come nearer: a shorter interval, or it is leaving."""
        self._deadlines.push(worker.id, worker.deadline)

    def forget_claims(self, state: State, worker: Worker, below: int) -> None:
        """The worker has the answers to all claims below a number."""
        if below <= worker.claim_floor:
            return
        worker.claim_floor = below
        for number in sorted(n for n in worker.claims if n < below):
            state.leases.confirmed(worker.claims.pop(number))

    def remove(self, state: State, worker: Worker) -> None:
        """Forgets a worker that holds nothing any more."""
        assert not worker.leased, worker.leased
        for number in sorted(worker.claims):
            state.leases.drop(worker.claims[number])
        del self._workers[worker.id]
        self._changed.pop(worker.id, None)
        self._view.delete(keys.WORKER + worker.id)

    def next_deadline(self) -> int:
        """When the next worker will count as dead, or NEVER."""
        return self._deadlines.next()

    def first_dead(self, until: int) -> Worker | None:
        """The worker that died first, if it did so not later than `until`. It stays known."""
        return self._deadlines.first(until)


def register_worker(state: State, command: RegisterWorker) -> Registered | Refusal:
    """Makes a worker known, or renews what is known of it."""
    worker = state.workers.contact(state, command.worker_id)
    if isinstance(worker, Refusal):
        return worker
    worker.name = command.name
    worker.concurrency = command.concurrency
    worker.interval_ms = command.heartbeat_interval_ms
    state.workers.sooner(worker)
    state.workers.changed(worker)
    dead_after_ms = DEAD_WORKER_INTERVALS * worker.interval_ms
    return Registered(state.settings.lease_ms, worker.interval_ms, dead_after_ms)


def heartbeat(state: State, command: Heartbeat) -> HeartbeatReply | Refusal:
    """Extends exactly the leases that the worker names, each by its own length."""
    workers, leases = state.workers, state.leases
    worker = workers.contact(state, command.worker_id)
    if isinstance(worker, Refusal):
        return worker
    workers.forget_claims(state, worker, command.lowest_unanswered)
    worker.cpu_permille, worker.memory_size = command.cpu_permille, command.memory_size
    workers.changed(worker)
    invalid, cancel = [], []
    for token in dict.fromkeys(command.tokens):
        lease = leases.by_token.get(token)
        if lease is None or lease.worker_id != worker.id or worker.leaving:
            invalid.append(token)
            continue
        leases.extend(lease, state.elapsed + lease.lease_ms)
        if lease.cancel_requested:
            cancel.append(token)
    return HeartbeatReply(invalid, cancel)
