"""Whether a view is whole: every task in exactly the indices that belong to its state, no key
without an owner, every count equal to a recount. Written from the table of keys, and reads the
view alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from taskq.limits import ATTEMPT_HISTORY_MAX
from taskq.machine import keys
from taskq.machine.record import unpack
from taskq.machine.task import (
    CANCELLED,
    COMPLETED,
    DEAD,
    EXPIRED,
    LEASED,
    READY,
    RETRYING,
    SCHEDULED,
    Task,
    tier,
)
from taskq.machine.view import MemoryView

WAITS_FOR_TIME = (SCHEDULED, RETRYING)
ENDED = (COMPLETED, CANCELLED, EXPIRED)
FAMILIES = b"gnmqtpoarswuxlkcfdzy"
CLOCK_FAMILIES = (None, keys.DUE_ELAPSED, keys.DUE_WALL)
SINGLE = (keys.SETTINGS, keys.COUNTERS, keys.CLOCKS)


def check_whole(view: MemoryView) -> None:
    """Asserts all of it."""
    families: dict[bytes, dict[bytes, bytes]] = {bytes((letter,)): {} for letter in FAMILIES}
    for key, value in view.values.items():
        families[key[:1]][key] = value
    for letter in SINGLE:
        assert set(families[letter]) <= {letter}
    tasks = [Task.decode(key[1:], value) for key, value in families[keys.TASK].items()]
    _check_indices(families, tasks)
    _check_leases(families, tasks)
    _check_attempts(families, tasks)
    _check_forgotten(families)
    _check_queues(families, tasks)
    if families[keys.CLOCKS]:
        _check_counts(families, tasks)
        _check_clocks(families, tasks)


def _check_indices(families: dict[bytes, dict[bytes, bytes]], tasks: list[Task]) -> None:
    expected: dict[bytes, dict[bytes, bytes | None]] = {bytes((c,)): {} for c in b"rswuxfdpo"}
    for task in tasks:
        for key, value in _indices_of(task):
            expected[key[:1]][key] = value
    for letter, wanted in expected.items():
        found = families[letter]
        assert set(found) == set(wanted), (letter, set(found) ^ set(wanted))
        assert all(value is None or found[key] == value for key, value in wanted.items())
    _check_sizes(families, tasks)


def _indices_of(task: Task) -> Iterator[tuple[bytes, bytes | None]]:
    """The keys that belong to a task in its state; None: whatever the value is."""
    clock = CLOCK_FAMILIES[task.due_clock]
    assert (clock is not None) == (task.state in WAITS_FOR_TIME), task.state
    if clock is not None:
        yield clock + keys.u64(task.due_ms) + keys.u64(task.due_sequence), task.id
        yield keys.waiting_prefix(task.queue) + task.id, b""
    if task.state == READY:
        yield keys.ready_prefix(task.queue) + keys.place(task.rank, task.sequence), task.id
    if task.ttl_deadline:
        assert task.state in (READY, *WAITS_FOR_TIME)
        yield keys.TTL + keys.u64(task.ttl_deadline) + task.id, b""
    else:
        assert task.state != READY or task.ttl_left == -1, "a ready task whose TTL stands"
    if task.state in ENDED:
        yield keys.FINISHED + keys.u64(task.ended_wall) + task.id, b""
    elif task.payload_size:
        yield keys.PAYLOAD + task.id, None
    if task.state == DEAD:
        yield keys.DEAD + keys.u64(task.ended_wall) + task.id, b""
    if task.result_size >= 0:
        assert task.state == COMPLETED
        yield keys.RESULT + task.id, None


def _check_sizes(families: dict[bytes, dict[bytes, bytes]], tasks: list[Task]) -> None:
    for task in tasks:
        if task.state not in ENDED and task.payload_size:
            assert len(families[keys.PAYLOAD][keys.PAYLOAD + task.id]) == 1 + task.payload_size
        if task.result_size >= 0:
            assert len(families[keys.RESULT][keys.RESULT + task.id]) == 1 + task.result_size


def _check_leases(families: dict[bytes, dict[bytes, bytes]], tasks: list[Task]) -> None:
    leased = {task.id: task for task in tasks if task.state == LEASED}
    assert {key[1:] for key in families[keys.LEASE]} == set(leased)
    tokens = set()
    for key, record in families[keys.LEASE].items():
        token, worker_id, deadline, _, run_deadline, cancel_requested = unpack(record)
        task = leased[key[1:]]
        assert (token, worker_id) == (task.token, task.worker)
        assert cancel_requested == task.cancel_requested
        assert not run_deadline or deadline <= run_deadline
        assert keys.WORKER + worker_id in families[keys.WORKER], "a lease of an unknown worker"
        tokens.add(token)
    assert len(tokens) == len(leased)
    for key in families[keys.CLAIM]:
        record = families[keys.WORKER][keys.WORKER + key[1:17]]
        assert keys.from_u64(key[17:]) >= unpack(record)[4], "a claim below the floor"


def _check_attempts(families: dict[bytes, dict[bytes, bytes]], tasks: list[Task]) -> None:
    by_id = {task.id: task for task in tasks}
    counts: Counter[bytes] = Counter()
    sizes: Counter[bytes] = Counter()
    for key, record in families[keys.ATTEMPT].items():
        task_id, number = key[1:17], int.from_bytes(key[17:], "big")
        assert task_id in by_id, f"an attempt without a task: {key.hex()}"
        assert 1 <= number <= by_id[task_id].attempt
        counts[task_id] += 1
        sizes[task_id] += len(record)
    for task in tasks:
        assert counts[task.id] <= ATTEMPT_HISTORY_MAX
        assert task.history_size == sizes[task.id]


def _check_forgotten(families: dict[bytes, dict[bytes, bytes]]) -> None:
    forgotten = {key[1:] for key in families[keys.FORGOTTEN]}
    due = [key[9:] for key in families[keys.FORGET_DUE]]
    assert sorted(forgotten) == sorted(due)
    assert not forgotten & {key[1:] for key in families[keys.TASK]}


def _check_queues(families: dict[bytes, dict[bytes, bytes]], tasks: list[Task]) -> None:
    positions = {SCHEDULED: 3, RETRYING: 4, LEASED: 5, DEAD: 6}
    recount: dict[str, list[int]] = {}
    for task in tasks:
        counts = recount.setdefault(task.queue, [0] * 7)
        position = tier(task.priority) if task.state == READY else positions.get(task.state)
        if position is not None:
            counts[position] += 1
    names = {key[1:].decode() for key in families[keys.QUEUE]}
    assert set(recount) <= names
    for key, record in families[keys.QUEUE].items():
        name = key[1:].decode()
        _, _, _, counts, low = unpack(record)
        assert counts == recount.get(name, [0] * 7), name
        prefix = keys.ready_prefix(name)
        for ready in families[keys.READY]:
            if ready.startswith(prefix):
                assert ready[len(prefix) :] >= keys.place(*low), "a ready task below `low`"


def _check_counts(families: dict[bytes, dict[bytes, bytes]], tasks: list[Task]) -> None:
    fields: list[Any] = unpack(families[keys.COUNTERS][keys.COUNTERS])
    states, durations, _, waiting, finished, dead, totals = fields
    recount = [0] * 9
    sizes = {"waiting": 0, "finished": 0, "dead": 0}
    for task in tasks:
        recount[task.state] += 1
        kept = task.head_size + task.history_size
        head_size = len(task.encode()) - len(task.reason.encode())
        assert task.head_size >= head_size + 100, "a head larger than it is counted"
        if task.state in ENDED:
            sizes["finished"] += kept + max(task.result_size, 0)
        elif task.state == DEAD:
            sizes["dead"] += kept + task.payload_size
        elif task.state != LEASED:
            sizes["waiting"] += kept + task.payload_size
    assert states == recount
    assert {"waiting": waiting, "finished": finished, "dead": dead} == sizes
    submitted, completed, removed = totals[0], totals[1], totals[12]
    assert submitted == sum(recount) + removed
    assert sum(durations) == completed


def _check_clocks(families: dict[bytes, dict[bytes, bytes]], tasks: list[Task]) -> None:
    elapsed, wall, sequence, token, lows = unpack(families[keys.CLOCKS][keys.CLOCKS])
    for task in tasks:
        assert max(task.sequence, task.due_sequence) <= sequence
        assert task.token <= token
        assert max(task.submitted_wall, task.started_wall, task.ended_wall) <= wall
        assert max(task.started_ms, task.ended_ms) <= elapsed
    indexed = (
        *(keys.DUE_ELAPSED, keys.DUE_WALL, keys.TTL, keys.FINISHED),
        *(keys.DEAD, keys.FORGET_DUE),
    )
    for letter, low in zip(indexed, lows, strict=True):
        for key in families[letter]:
            assert keys.from_u64(key[1:9]) >= low, "a deadline below `low`"
