"""Acting on what is due: dead workers, ended leases, schedules, TTLs. One entry, in this order, so
that a lease and its worker which end together count once, as the worker's death.

Nothing expires by itself: a token is valid until an `Advance` (or an outcome) takes it away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskq.limits import ADVANCE_LIMIT
from taskq.machine import keys
from taskq.machine.dead_letter import bury
from taskq.machine.ending import cancel_now, end_waiting, record_attempt, return_to_place
from taskq.machine.lease import Lease
from taskq.machine.outcome import end_lease
from taskq.machine.release import release_run
from taskq.machine.retry import fail_run
from taskq.machine.schedule import promote
from taskq.machine.task import EXPIRED, WAS_TAKEN, load_task, save_task
from taskq.results import Deregistered, Done

if TYPE_CHECKING:
    from taskq.commands import Advance, DeregisterWorker
    from taskq.machine.state import State


def advance(state: State, command: Advance) -> Done:
    """Acts on at most `limit` deadlines; what is left is due at once again."""
    limit = command.limit
    limit -= _bury_workers(state, limit)
    limit -= _expire_leases(state, limit)
    limit -= promote(state, limit)
    _expire_waiting(state, limit)
    return Done()


def next_due(state: State) -> tuple[int, int]:
    """When something is due next: (cluster time, wall time); `NEVER` where nothing is."""
    elapsed = min(
        state.workers.next_deadline(),
        state.leases.next_deadline(),
        state.indices[keys.DUE_ELAPSED].next(),
        state.indices[keys.TTL].next(),
    )
    return elapsed, state.indices[keys.DUE_WALL].next()


def _bury_workers(state: State, limit: int) -> int:
    done = 0
    while done < limit:
        worker = state.workers.first_dead(state.elapsed)
        if worker is None:
            break
        # Oldest first, and not all: a worker may hold more than one entry should act upon.
        for lease in state.leases.oldest(worker, limit - done):
            if worker.leaving:
                release_run(state, state.leases.task_of(lease), lease, 0)
            else:
                _lose(state, lease, "worker_dead")
            done += 1
        if not worker.leased:
            done += 1 + len(worker.claims)
            state.workers.remove(state, worker)
    return min(done, limit)


def _expire_leases(state: State, limit: int) -> int:
    done = 0
    while done < limit and (lease := state.leases.take_due(state.elapsed)) is not None:
        if 0 < lease.run_deadline <= state.elapsed:
            _time_out(state, lease)
        else:
            _lose(state, lease, "lease_expired")
        done += 1
    return done


def _time_out(state: State, lease: Lease) -> None:
    """The run's own time limit ended: a failure like any other, retried with backoff."""
    task = state.leases.task_of(lease)
    end_lease(state, task, lease, WAS_TAKEN)
    state.counters.timeouts += 1
    state.lost_lease(task, lease, "timeout")
    fail_run(state, task, "timeout", f"timeout of {task.timeout_ms} ms", retry=True)
    save_task(state, task)


def _lose(state: State, lease: Lease, why: str) -> None:
    """A lease ended without an outcome; past `max_lease_expiries` the task is dead."""
    task = state.leases.task_of(lease)
    end_lease(state, task, lease, WAS_TAKEN)
    task.expiries += 1
    if why == "worker_dead":
        state.counters.worker_deaths += 1
    else:
        state.counters.lease_expiries += 1
    state.lost_lease(task, lease, why)
    record_attempt(state, task, why, "")
    if task.cancel_requested:
        cancel_now(state, task, "cancelled while running")
    elif task.expiries > state.settings.max_lease_expiries:
        bury(state, task, f"{task.expiries} leases ended without an outcome, the last: {why}")
    else:
        return_to_place(state, task)
    save_task(state, task)


def _expire_waiting(state: State, limit: int) -> None:
    for due in state.indices[keys.TTL].take(state.elapsed, limit):
        task = load_task(state, due.rest)
        assert task is not None, "a TTL without a task"
        task.ttl_deadline = 0
        end_waiting(state, task, EXPIRED, "TTL ended before a worker took it")


def deregister_worker(state: State, command: DeregisterWorker) -> Deregistered:
    """Forgets a worker and gives back what it holds; of very much, the rest with the `Advance`s
    that are then due. An unknown worker holds nothing."""
    worker = state.workers.find(command.worker_id)
    if worker is None:
        return Deregistered(0)
    count = worker.leased
    for lease in state.leases.oldest(worker, ADVANCE_LIMIT):
        release_run(state, state.leases.task_of(lease), lease, 0)
    if count <= ADVANCE_LIMIT:
        state.workers.remove(state, worker)
    else:
        worker.leaving = True
        state.workers.sooner(worker)
        state.workers.changed(worker)
    return Deregistered(count)
