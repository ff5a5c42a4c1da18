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
    CONTENT_SIZE_IN_HEAD,
    DEAD,
    EXPIRED,
    LEASED,
    READY,
    RETRYING,
    RUNNING,
    SCHEDULED,
    TIERS,
    Task,
)
from taskq.machine.view import MemoryView

WAITS_FOR_TIME = (SCHEDULED, RETRYING)
ENDED = (COMPLETED, CANCELLED, EXPIRED)
FAMILIES = b"gnmvqtpoarswuxkcfdzy"
CLOCK_FAMILIES = (None, keys.DUE_ELAPSED, keys.DUE_WALL)
SINGLE = (keys.SETTINGS, keys.COUNTERS, keys.CLOCKS, keys.LEVEL)


def check_whole(view: MemoryView) -> None:
    """Asserts all of it."""
    families: dict[bytes, dict[bytes, bytes]] = {bytes((letter,)): {} for letter in FAMILIES}
    for key, value in view.values.items():
        families[key[:1]][key] = value
    for letter in SINGLE:
        assert set(families[letter]) <= {letter}
    tasks = tasks_of(view)
    _check_indices(families, tasks)
    _check_finished(families, tasks)
    _check_leases(families, tasks)
    _check_attempts(families, tasks)
    _check_forgotten(families)
    _check_queues(families, tasks)
    if families[keys.CLOCKS]:
        _check_counts(families, tasks)
        _check_clocks(families, tasks)


def tasks_of(view: MemoryView) -> list[Task]:
    """All tasks as they are: a head says nothing of the run that is under way."""
    tasks = {}
    for key, value in view.values.items():
        if key[:1] == keys.TASK:
            task = tasks[key[1:]] = Task.decode(key[1:], value)
            assert task.state != LEASED, "a head that says it is leased"
    for key, record in view.values.items():
        if key[:1] == keys.CLAIM:
            for token, task_id, *_, cancel_requested in leases_of(record):
                _run(tasks[task_id], token, key[1:17], record, cancel_requested)
    return list(tasks.values())


def leases_of(record: bytes) -> list[tuple[Any, ...]]:
    """(token, task id, lease_ms, deadline, run deadline, cancel requested) of a claim's record."""
    _, started_ms, lease_ms, tokens, ids, others = unpack(record)
    assert len(ids) == 16 * len(tokens)
    assert tokens == sorted(tokens)
    own = {token: terms for token, *terms in others}
    assert set(own) <= set(tokens)
    usual = [lease_ms, started_ms + lease_ms, 0, False]
    assert usual not in own.values(), "written out though it is as usual"
    return [
        (token, ids[16 * at : 16 * at + 16], *own.get(token, usual))
        for at, token in enumerate(tokens)
    ]


def _run(task: Task, token: int, worker: bytes, record: bytes, cancel_requested: bool) -> None:
    assert task.state == READY, "two leases of one task, or a lease of one that does not run"
    assert token > task.token
    assert not task.cancel_requested
    task.started_wall, task.started_ms, *_ = unpack(record)
    if task.ttl_deadline:
        task.ttl_left, task.ttl_deadline = max(task.ttl_deadline - task.started_ms, 0), 0
    task.state, task.token, task.worker, task.outcome = LEASED, token, worker, RUNNING
    task.attempt += 1
    task.cancel_requested = cancel_requested


def _check_indices(families: dict[bytes, dict[bytes, bytes]], tasks: list[Task]) -> None:
    expected: dict[bytes, dict[bytes, bytes | None]] = {bytes((c,)): {} for c in b"rswuxdpo"}
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
        yield keys.ready_prefix(task.queue) + task.place, task.id
    if task.ttl_deadline:
        assert task.state in (READY, *WAITS_FOR_TIME)
        yield keys.TTL + keys.u64(task.ttl_deadline) + task.id, b""
    else:
        assert task.state != READY or task.ttl_left == -1, "a ready task whose TTL stands"
    if task.state not in ENDED and task.payload_size > CONTENT_SIZE_IN_HEAD:
        yield keys.PAYLOAD + task.id, None
    if task.state == DEAD:
        yield keys.DEAD + keys.u64(task.ended_wall) + task.id, b""
    if task.result_size > CONTENT_SIZE_IN_HEAD:
        assert task.state == COMPLETED
        yield keys.RESULT + task.id, None


def _check_sizes(families: dict[bytes, dict[bytes, bytes]], tasks: list[Task]) -> None:
    for task in tasks:
        size = max(task.result_size, 0) if task.state in ENDED else task.payload_size
        if size <= CONTENT_SIZE_IN_HEAD:
            assert len(task.content) == size
            continue
        assert task.content == b""
        family = keys.RESULT if task.state in ENDED else keys.PAYLOAD
        assert len(families[family][family + task.id]) == 1 + size


def _check_finished(families: dict[bytes, dict[bytes, bytes]], tasks: list[Task]) -> None:
    listed, counted = {}, 0
    for key, record in sorted(families[keys.FINISHED].items()):
        wall, number = keys.from_place(key[1:])
        assert record, "a record without ids"
        assert len(record) % 16 == 0
        assert number > counted, "numbers that overlap"
        counted = number + len(record) // 16 - 1
        for at in range(0, len(record), 16):
            assert record[at : at + 16] not in listed
            listed[record[at : at + 16]] = wall
    assert listed == {task.id: task.ended_wall for task in tasks if task.state in ENDED}
    if families[keys.CLOCKS]:
        low, count = unpack(families[keys.CLOCKS][keys.CLOCKS])[5:]
        assert counted <= count
        assert all(key[1:] > low for key in families[keys.FINISHED])


def _check_leases(families: dict[bytes, dict[bytes, bytes]], tasks: list[Task]) -> None:
    leased = {task.id: task for task in tasks if task.state == LEASED}
    found = set()
    for key, record in families[keys.CLAIM].items():
        worker = families[keys.WORKER].get(keys.WORKER + key[1:17])
        assert worker is not None, "a claim of an unknown worker"
        leases = leases_of(record)
        floor = unpack(worker)[4]
        assert leases or keys.from_u64(key[17:]) >= floor, "a claim that is over"
        for _, task_id, _, deadline, run_deadline, _ in leases:
            found.add(task_id)
            assert not run_deadline or deadline <= run_deadline
            assert (run_deadline > 0) == (leased[task_id].timeout_ms > 0)
    assert found == set(leased)
    assert len({task.token for task in leased.values()}) == len(leased)


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
        position = TIERS[task.priority] if task.state == READY else positions.get(task.state)
        if position is not None:  # the queue of a task that has ended may be gone
            recount.setdefault(task.queue, [0] * 7)[position] += 1
    names = {key[1:].decode() for key in families[keys.QUEUE]}
    assert set(recount) <= names
    for key, record in families[keys.QUEUE].items():
        name = key[1:].decode()
        _, _, _, counts, low = unpack(record)
        assert len(low) == keys.PLACE_SIZE
        assert counts == recount.get(name, [0] * 7), name
        prefix = keys.ready_prefix(name)
        for ready in families[keys.READY]:
            if ready.startswith(prefix):
                assert ready[len(prefix) :] >= low, "a ready task below `low`"


def _check_counts(families: dict[bytes, dict[bytes, bytes]], tasks: list[Task]) -> None:
    fields: list[Any] = unpack(families[keys.COUNTERS][keys.COUNTERS])
    states, durations, _, waiting, finished, dead, totals = fields
    recount = [0] * 9
    sizes = {"waiting": 0, "finished": 0, "dead": 0}
    for task in tasks:
        recount[task.state] += 1
        kept = task.head_size + task.history_size
        head_size = len(task.encode()) - len(task.reason.encode()) - len(task.content)
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
    elapsed, wall, sequence, token, lows, *_ = unpack(families[keys.CLOCKS][keys.CLOCKS])
    for task in tasks:
        place = keys.from_place(task.place or keys.FIRST_PLACE)
        assert max(place[1], task.due_sequence) <= sequence
        assert task.token <= token
        assert max(task.submitted_wall, task.started_wall, task.ended_wall) <= wall
        assert max(task.started_ms, task.ended_ms) <= elapsed
    indexed = (
        *(keys.DUE_ELAPSED, keys.DUE_WALL, keys.TTL),
        *(keys.DEAD, keys.FORGET_DUE),
    )
    for letter, low in zip(indexed, lows, strict=True):
        for key in families[letter]:
            assert keys.from_u64(key[1:9]) >= low, "a deadline below `low`"
