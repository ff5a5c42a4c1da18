"""The task's head record and the table of its states.

    submit ----> SCHEDULED --due--> READY --claim--> LEASED --complete--> COMPLETED
                                    ^  ^               |
                                    |  |               +--fail, retries left--> RETRYING --+
                                    |  +-----------------------------------due-------------+
                                    +--release, lease expiry, worker death
                                                       +--release with a delay--> SCHEDULED
                                                       +--fail for good, expiries, unknown--> DEAD
    DEAD --redrive--> READY.   Waiting states --cancel--> CANCELLED, --TTL--> EXPIRED.
    LEASED with a wanted cancellation --any end but completion--> CANCELLED.

`move` is the only way to change a task's state; it keeps the counts true.

A head is written when a task is submitted, waits again, or ends; never when it is claimed. While a
task is leased its record is the one of before, READY, and what has changed is in its lease
(`lease.py`). `load_task` gives the task as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgpack

from taskq.limits import KIB, PRIORITY_MAX, TIER_HIGH_MIN, TIER_NORMAL_MIN
from taskq.machine import keys
from taskq.results import TaskState

if TYPE_CHECKING:
    from taskq.machine.state import State
    from taskq.machine.view import View

SCHEDULED, READY, LEASED, RETRYING = 1, 2, 3, 4
COMPLETED, DEAD, CANCELLED, EXPIRED = 5, 6, 7, 8
assert [s.value for s in TaskState] == list(range(SCHEDULED, EXPIRED + 1))
NEW = 0

MOVES: dict[int, frozenset[int]] = {
    NEW: frozenset({SCHEDULED, READY}),
    SCHEDULED: frozenset({READY, CANCELLED, EXPIRED}),
    READY: frozenset({LEASED, CANCELLED, EXPIRED}),
    LEASED: frozenset({READY, SCHEDULED, RETRYING, COMPLETED, DEAD, CANCELLED}),
    RETRYING: frozenset({READY, CANCELLED, EXPIRED}),
    DEAD: frozenset({READY}),
    COMPLETED: frozenset(),
    CANCELLED: frozenset(),
    EXPIRED: frozenset(),
}
WAITING_STATES = frozenset({SCHEDULED, READY, RETRYING})
ENDED_STATES = frozenset({COMPLETED, CANCELLED, EXPIRED})

# What a task costs beside its payload, result and texts: head, keys, indices. For limits in bytes.
RECORD_SIZE = 300

# A payload or result up to here stands in the head, so that most tasks have one record.
CONTENT_SIZE_IN_HEAD = KIB

# Heads read together: with their headers some MiB at most.
HEADS_AT_ONCE = 128

# How the run under `token` ended; what makes a repeated outcome recognisable.
RUNNING, DID_COMPLETE, DID_FAIL, DID_RELEASE, WAS_TAKEN = 0, 1, 2, 3, 4

# Which clock `due_ms` belongs to.
NO_DUE, BY_ELAPSED, BY_WALL = 0, 1, 2

NO_TTL = -1

_pack = msgpack.Packer(use_bin_type=True, autoreset=True).pack
_unpack = msgpack.unpackb


class Task:
    """A task's head, decoded. `_ms` in cluster time unless the name says wall."""

    __slots__ = (
        *("id", "state", "queue", "name", "priority", "headers", "payload_size", "result_size"),
        *("content", "keep_result", "submitted_wall", "due_clock", "due_ms", "due_sequence"),
        *("place",),
        *("ttl_left", "ttl_deadline", "timeout_ms", "max_retries", "retries"),
        *("backoff_ms", "backoff_max_ms", "expiries", "attempt", "token", "worker"),
        *("outcome", "outcome_state", "cancel_requested", "started_wall", "started_ms"),
        *("ended_wall", "ended_ms", "reason", "head_size", "history_size", "unknown_releases"),
    )

    id: bytes
    state: int
    queue: str
    name: str
    priority: int
    headers: dict[str, str]
    payload_size: int
    result_size: int  # -1: there is none
    content: bytes  # the payload until the task ends, then the result; large ones stand elsewhere
    keep_result: bool
    submitted_wall: int
    due_clock: int
    due_ms: int
    due_sequence: int  # first in, first out among tasks due at the same moment
    place: bytes  # in the queue, see `ready.py`; empty: gets a new one when it becomes ready
    ttl_left: int  # NO_TTL, or what was left when its clock last stopped
    ttl_deadline: int  # 0: the TTL's clock stands
    timeout_ms: int  # 0: none
    max_retries: int
    retries: int
    backoff_ms: int
    backoff_max_ms: int
    expiries: int
    attempt: int
    token: int
    worker: bytes
    outcome: int
    outcome_state: int
    cancel_requested: bool
    started_wall: int
    started_ms: int
    ended_wall: int
    ended_ms: int
    reason: str
    head_size: int  # bytes beside payload, result and attempts; for limits in bytes
    history_size: int  # bytes of the attempts kept
    unknown_releases: int  # by workers that do not know the name, see `release.py`

    @property
    def size(self) -> int:
        """Bytes that a waiting or dead task is counted with."""
        return self.payload_size + self.head_size + self.history_size

    @property
    def size_ended(self) -> int:
        """Bytes that an ended task is counted with: its payload is gone."""
        return max(self.result_size, 0) + self.head_size + self.history_size

    def encode(self) -> bytes:
        """The head record; must list the fields in the order of `decode`."""
        # fmt: off
        record: bytes = _pack((
            keys.FORMAT, self.state, self.queue, self.name, self.priority, self.headers,
            self.payload_size, self.result_size, self.content, self.keep_result,
            self.submitted_wall, self.due_clock, self.due_ms, self.due_sequence, self.place,
            self.ttl_left, self.ttl_deadline, self.timeout_ms, self.max_retries,
            self.retries, self.backoff_ms, self.backoff_max_ms, self.expiries,
            self.attempt, self.token, self.worker, self.outcome, self.outcome_state,
            self.cancel_requested, self.started_wall, self.started_ms,
            self.ended_wall, self.ended_ms, self.reason, self.head_size, self.history_size,
            self.unknown_releases,
        ))
        # fmt: on
        return record

    @classmethod
    def decode(cls, task_id: bytes, record: bytes) -> Task:
        """The task of a head record."""
        task = cls.__new__(cls)
        task.id = task_id
        # fmt: off
        (
            version, task.state, task.queue, task.name, task.priority, task.headers,
            task.payload_size, task.result_size, task.content, task.keep_result,
            task.submitted_wall, task.due_clock, task.due_ms, task.due_sequence, task.place,
            task.ttl_left, task.ttl_deadline, task.timeout_ms, task.max_retries,
            task.retries, task.backoff_ms, task.backoff_max_ms, task.expiries,
            task.attempt, task.token, task.worker, task.outcome, task.outcome_state,
            task.cancel_requested, task.started_wall, task.started_ms,
            task.ended_wall, task.ended_ms, task.reason, task.head_size, task.history_size,
            task.unknown_releases,
        ) = _unpack(record)
        # fmt: on
        assert version == keys.FORMAT, f"task record of format {version}"
        return task


# A head is an array of more than 15 elements: 3 bytes, then the format, then the state.
_FORMAT_AT, _STATE_AT = 3, 4


def state_in(record: bytes) -> int:
    """The state in a head record, without the rest. A leased task's head says READY."""
    assert record[_FORMAT_AT] == keys.FORMAT, f"task record of format {record[_FORMAT_AT]}"
    return record[_STATE_AT]


# Priority -> 0 high, 1 normal, 2 low.
TIERS = tuple(
    0 if priority >= TIER_HIGH_MIN else 1 if priority >= TIER_NORMAL_MIN else 2
    for priority in range(PRIORITY_MAX + 1)
)


def shown(task_id: bytes) -> str:
    """An id as people see it everywhere: a UUID."""
    text = task_id.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def load_task(state: State, task_id: bytes) -> Task | None:
    """The task as it is now, or None. Who changes it saves it, or its lease, before he returns."""
    return find_task(state, task_id) or read_head(state.view, task_id)


def find_task(state: State, task_id: bytes) -> Task | None:
    """The task as it is now if that is known without reading its head."""
    lease = state.leases.by_task.get(task_id)
    if lease is not None:
        return state.leases.task_of(lease)
    return state.lately.get(task_id)


def read_heads(state: State, ids: list[bytes]) -> dict[bytes, Task]:
    """The tasks of those heads that have to be read and are there; at most `HEADS_AT_ONCE` ids."""
    unknown = [task_id for task_id in ids if find_task(state, task_id) is None]
    records = state.view.get_many([keys.TASK + task_id for task_id in unknown])
    return {
        task_id: Task.decode(task_id, record)
        for task_id, record in zip(unknown, records, strict=True)
        if record is not None
    }


def read_head(view: View, task_id: bytes) -> Task | None:
    """The task of the head record: not what a lease has changed."""
    record = view.get(keys.TASK + task_id)
    return None if record is None else Task.decode(task_id, record)


def save_task(state: State, task: Task) -> None:
    """Writes the head of a task that exists already and is not leased."""
    assert task.state != LEASED, "a running task stands in its lease"
    state.view.put(keys.TASK + task.id, task.encode())


def move(state: State, task: Task, to: int) -> None:
    """Changes the state of a task and the counts that depend on it. The caller saves the task."""
    origin = task.state
    assert to in MOVES[origin], f"no move {origin} -> {to} for task {task.id.hex()}"
    counters = state.counters
    states = counters.states
    size = task.payload_size + task.head_size + task.history_size
    if origin != NEW:
        states[origin] -= 1
        if origin in WAITING_STATES:
            counters.waiting_size -= size
        elif origin == DEAD:
            counters.dead_size -= size
    states[to] += 1
    if to in WAITING_STATES:
        counters.waiting_size += size
    elif to == DEAD:
        counters.dead_size += size
    elif to in ENDED_STATES:
        counters.finished_size += task.size_ended
    task.state = to
    state.queues.by_name[task.queue].moved(task.priority, origin, to)
