"""Runs that end as if they had not been: their tasks are given back.

    LEASED --release--> READY (its old place)     --with a delay--> SCHEDULED
           --by a worker that does not know the name--> SCHEDULED, at the tenth time DEAD

Releases count as nothing, but for those of the last kind: they are counted in the task's head, so
that it is the same number whichever workers they came from. Nothing but a redrive takes one back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskq.errors import Refusal
from taskq.limits import UNKNOWN_DELAY_MS_DEFAULT, UNKNOWN_DELAY_MS_MAX, UNKNOWN_RELEASES_MAX
from taskq.machine.dead_letter import bury
from taskq.machine.ending import cancel_now, record_attempt, return_to_place
from taskq.machine.lease import Lease, valid
from taskq.machine.outcome import end_lease, repeated
from taskq.machine.schedule import wait_until
from taskq.machine.task import BY_ELAPSED, DID_RELEASE, SCHEDULED, Task, save_task
from taskq.machine.ttl import start_ttl
from taskq.results import OutcomeReply

if TYPE_CHECKING:
    from taskq.commands import Nack
    from taskq.machine.state import State

# First word of the reason of a task that nobody knew.
UNKNOWN_TASK = "UNKNOWN_TASK"


def nack(state: State, command: Nack) -> OutcomeReply | Refusal:
    """Given back: to its place, after `delay_ms` if there is one; or dead, if nobody knows it.

    Refused: NOT_FOUND, STALE_TOKEN."""
    lease = valid(state, command.task_id, command.token)
    if lease is None:
        return repeated(state, command.task_id, command.token, DID_RELEASE)
    task = state.leases.task_of(lease)
    if command.unknown_task:
        _release_unknown(state, task, lease, command.delay_ms)
    else:
        release_run(state, task, lease, command.delay_ms)
    return OutcomeReply(task.outcome_state)


def release_run(state: State, task: Task, lease: Lease, delay_ms: int) -> None:
    """Ends a run as if it had not been: for Nack and for deregistration. Saves the task."""
    end_lease(state, task, lease, DID_RELEASE)
    state.counters.released += 1
    task.attempt -= 1
    if task.cancel_requested:
        cancel_now(state, task, "cancelled while running")
    elif delay_ms:
        wait_until(state, task, SCHEDULED, BY_ELAPSED, state.elapsed + delay_ms)
        start_ttl(state, task)
    else:
        return_to_place(state, task)
    task.outcome_state = task.state
    save_task(state, task)


def _release_unknown(state: State, task: Task, lease: Lease, delay_ms: int) -> None:
    """Ends a run by a worker that does not know the task's name. Saves the task."""
    task.unknown_releases += 1
    if task.unknown_releases < UNKNOWN_RELEASES_MAX or task.cancel_requested:
        release_run(state, task, lease, _unknown_delay_ms(task, delay_ms))
        return
    end_lease(state, task, lease, DID_RELEASE)
    state.counters.released += 1
    # Not `repr`, which depends on the version of Python: every node must write the same.
    text = f'{task.unknown_releases} times given back by workers that know no task "{task.name}"'
    reason = f"{UNKNOWN_TASK}: {text}"
    record_attempt(state, task, "unknown_task", reason)
    bury(state, task, reason)
    task.outcome_state = task.state
    save_task(state, task)


def _unknown_delay_ms(task: Task, first_ms: int) -> int:
    """Delay after release number `task.unknown_releases` (from 1): never 0, so that the worker
    which gave a task back does not get it again at once."""
    first_ms = first_ms or UNKNOWN_DELAY_MS_DEFAULT
    return min(first_ms << (task.unknown_releases - 1), max(first_ms, UNKNOWN_DELAY_MS_MAX))
