"""Questions: what is known of tasks, queues, workers and counts. They change nothing.

`limit` says of which queues and workers the asker may know; None: of all. What belongs to others is
answered as what is not there.
"""

from __future__ import annotations

from heapq import nsmallest
from typing import TYPE_CHECKING, Protocol

from taskq.errors import ErrorCode, Refusal, refuse
from taskq.limits import FRAME_SIZE_MAX, LIST_SCAN_MAX, MIB
from taskq.machine import keys
from taskq.machine.record import unpack, unpack_raw
from taskq.machine.task import (
    BY_WALL,
    COMPLETED,
    CONTENT_SIZE_IN_HEAD,
    DID_COMPLETE,
    LEASED,
    NO_DUE,
    READY,
    Task,
    load_task,
    shown,
)
from taskq.results import (
    Attempt,
    QueuePage,
    QueueView,
    Stats,
    TaskPage,
    TaskState,
    TaskView,
    WorkerPage,
    WorkerView,
)

if TYPE_CHECKING:
    from taskq.commands import (
        GetStats,
        ListDead,
        ListQueues,
        ListTasks,
        ListWorkers,
        QueryStatus,
    )
    from taskq.machine.state import State


class Limit(Protocol):
    """What the asker may know of."""

    def covers(self, queue: str, /) -> bool:
        """Whether of this queue and its tasks."""

    def holds(self, worker_id: bytes, /) -> bool:
        """Whether of this worker."""


# A page ends with the task that exceeds this: error texts and headers can make one task 1.6 MiB.
_PAGE_SIZE = FRAME_SIZE_MAX - 4 * MIB
# Records read at once: a node does nothing else meanwhile, and 32 headers make one 256 KiB.
_SCAN_COUNT = 500
# A listing hands back a cursor once it has looked at so much.
_SCAN_SIZE_MAX = 8 * MIB
# Of a task's view, what its sizes do not count: the reason, ids in hex, numbers.
_VIEW_SIZE = 5_000


def query_status(
    state: State, command: QueryStatus, limit: Limit | None = None
) -> TaskView | Refusal:
    """All that is known of a task. Refused: NOT_FOUND."""
    task = load_task(state, command.task_id)
    if task is None or (limit is not None and not limit.covers(task.queue)):
        return refuse(ErrorCode.NOT_FOUND, f"there is no task {shown(command.task_id)}")
    result = None
    if command.with_result and task.result_size >= 0:
        result = task.content
        if task.result_size > CONTENT_SIZE_IN_HEAD:
            stored = state.view.get(keys.RESULT + task.id)
            assert stored is not None, "a task without its result"
            result = unpack_raw(stored)
    return _view(state, task, result)


def _view(state: State, task: Task, result: bytes | None) -> TaskView:
    due = 0
    if task.due_clock == BY_WALL:
        due = task.due_ms
    elif task.due_clock != NO_DUE:
        due = state.wall + max(task.due_ms - state.elapsed, 0)
    reason = task.reason
    return TaskView(
        *(task.id, task.state, task.queue, task.name, task.priority, task.headers),
        *(task.payload_size, task.submitted_wall, due, task.started_wall, task.ended_wall),
        *(task.attempt, task.retries, task.max_retries, task.expiries, task.worker.hex()),
        *(task.token, task.cancel_requested and task.state == LEASED, reason),
        *(task.result_size >= 0, result, _attempts(state, task)),
    )


def _attempts(state: State, task: Task) -> list[Attempt]:
    attempts = []
    if task.attempt > 1 or task.state not in (COMPLETED, LEASED):
        for key, record in state.view.scan(keys.ATTEMPT + task.id, None, 100):
            worker, started, ended, outcome, error = unpack(record)
            number = int.from_bytes(key[17:], "big")
            attempts.append(Attempt(number, worker.hex(), started, ended, outcome, error))
    if task.state == COMPLETED and task.outcome == DID_COMPLETE:
        times = (task.started_wall, task.ended_wall)
        attempts.append(Attempt(task.attempt, task.worker.hex(), *times, "completed", ""))
    elif task.state == LEASED:
        run = (task.attempt, task.worker.hex(), task.started_wall, 0, "running", "")
        attempts.append(Attempt(*run))
    return attempts


def list_tasks(state: State, command: ListTasks, limit: Limit | None = None) -> TaskPage:
    """Tasks in the order of their ids."""
    after = None if command.after is None else keys.TASK + command.after
    tasks: list[TaskView] = []
    room, scan_room = _PAGE_SIZE, _SCAN_SIZE_MAX
    for _ in range(LIST_SCAN_MAX // _SCAN_COUNT):
        found = state.view.scan(keys.TASK, after, _SCAN_COUNT)
        for key, record in found:
            after = key
            scan_room -= len(record)
            task = Task.decode(key[1:], record)
            if task.state == READY:
                task = load_task(state, task.id) or task  # it may be leased
            if command.queue not in (None, task.queue) or command.state not in (None, task.state):
                continue
            if limit is not None and not limit.covers(task.queue):
                continue
            tasks.append(_view(state, task, None))
            room -= task.head_size + task.history_size + _VIEW_SIZE
            if len(tasks) == command.limit or room < 0:
                return TaskPage(tasks, key[1:])
        if len(found) < _SCAN_COUNT:
            return TaskPage(tasks, None)
        if scan_room < 0:
            break
    return TaskPage(tasks, None if after is None else after[1:])


def list_dead(state: State, command: ListDead, limit: Limit | None = None) -> TaskPage:
    """Dead tasks, those that died first first."""
    after = None if command.after is None else keys.DEAD + command.after
    found = state.view.scan(keys.DEAD, after, LIST_SCAN_MAX)
    tasks: list[TaskView] = []
    room = _PAGE_SIZE
    for key, _ in found:
        task = load_task(state, key[9:])
        assert task is not None, "a retention index without a task"
        if command.queue not in (None, task.queue):
            continue
        if limit is not None and not limit.covers(task.queue):
            continue
        tasks.append(_view(state, task, None))
        room -= task.head_size + task.history_size + _VIEW_SIZE
        if len(tasks) == command.limit or room < 0:
            return TaskPage(tasks, key[1:])
    return TaskPage(tasks, found[-1][0][1:] if len(found) == LIST_SCAN_MAX else None)


def list_queues(state: State, command: ListQueues, limit: Limit | None = None) -> QueuePage:
    """Queues in the order of their names."""
    start = b"" if command.after is None else command.after
    names = [name for name in state.queues.names() if name.encode() > start]
    if limit is not None:
        names = [name for name in names if limit.covers(name)]
    views = []
    for name in names[: command.limit]:
        queue = state.queues.by_name[name]
        lease_ms = queue.lease_ms or state.settings.lease_ms
        views.append(QueueView(name, queue.paused, queue.ageing_ms, lease_ms, *queue.counts[:7]))
    more = len(names) > command.limit
    return QueuePage(views, views[-1].name.encode() if more else None)


def list_workers(state: State, command: ListWorkers, limit: Limit | None = None) -> WorkerPage:
    """Workers in the order of their ids."""
    start = b"" if command.after is None else command.after
    known = state.workers.ids()
    if limit is not None:
        known = filter(limit.holds, known)
    ids = nsmallest(command.limit + 1, [one for one in known if one > start])
    views = []
    for worker_id in ids[: command.limit]:
        worker = state.workers.find(worker_id)
        assert worker is not None
        seen_ms = state.elapsed - worker.seen_ms
        load = (worker.leased, worker.cpu_permille, worker.memory_size, worker.registered_wall)
        views.append(WorkerView(worker_id, worker.name, worker.concurrency, seen_ms, *load))
    more = len(ids) > command.limit
    return WorkerPage(views, views[-1].worker_id if more else None)


def get_stats(state: State, _: GetStats, limit: Limit | None = None) -> Stats:
    """Counts; what concerns the node (id, leader, term, index) is filled in by the node. With a
    `limit` only what is counted by queue and by worker; the rest is empty or 0."""
    if limit is not None:
        return _stats_of(state, limit)
    counters = state.counters
    states = {s.name.lower(): counters.states[s.value] for s in TaskState}
    sizes = (counters.waiting_size, counters.finished_size, counters.dead_size)
    known = (len(state.queues), len(state.workers), state.elapsed, state.wall)
    durations = (list(counters.durations), counters.duration_sum_ms)
    return Stats(states, counters.totals(), *durations, *sizes, *known, "", "", 0, 0)


def _stats_of(state: State, limit: Limit) -> Stats:
    queues = [queue.counts for name, queue in state.queues.by_name.items() if limit.covers(name)]
    high, normal, low, scheduled, retrying, leased, dead, _ = map(
        sum, zip([0] * 8, *queues, strict=True)
    )
    states = {
        TaskState.SCHEDULED: scheduled,
        TaskState.READY: high + normal + low,
        TaskState.LEASED: leased,
        TaskState.RETRYING: retrying,
        TaskState.DEAD: dead,
    }
    named = {known.name.lower(): count for known, count in states.items()}
    workers = sum(map(limit.holds, state.workers.ids()))
    known = (len(queues), workers, state.elapsed, state.wall)
    return Stats(named, {}, [], 0, 0, 0, 0, *known, "", "", 0, 0)
