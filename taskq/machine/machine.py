"""The state machine: `apply` is the only way to change the state, `ask` the way to read it.

Pure: same view and entry, same results, same next view, byte for byte. It has no clock; entries
carry the leader's. It never raises for what a client can send: a refusal is a value. An exception
out of `apply` is a bug, and the node stops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from taskq import commands
from taskq.levels import LEVEL_MAX
from taskq.machine import keys
from taskq.machine.advance import advance, deregister_worker, next_due
from taskq.machine.cancel import cancel_task, purge_queue
from taskq.machine.claim import Granted, claim_task, with_payloads
from taskq.machine.dead_letter import delete_dead, redrive_dead
from taskq.machine.entry import decode_entry
from taskq.machine.lease import extend_lease, skip_tokens
from taskq.machine.level import raise_level
from taskq.machine.outcome import ack, task_result, task_results
from taskq.machine.queries import (
    Limit,
    get_stats,
    list_dead,
    list_queues,
    list_tasks,
    list_workers,
    query_status,
)
from taskq.machine.queue import create_queue, delete_queue, pause_queue, resume_queue
from taskq.machine.release import nack
from taskq.machine.removal import next_retention, retain
from taskq.machine.settings import Settings, configure
from taskq.machine.state import CancelWanted, LeaseLost, State
from taskq.machine.submit import is_known, submit_task, submit_tasks
from taskq.machine.task import COMPLETED, load_task
from taskq.machine.view import View
from taskq.machine.worker import heartbeat, register_worker

Handler = Callable[[State, Any], Any]

HANDLERS: dict[type, Handler] = {
    commands.SubmitTask: submit_task,
    commands.SubmitTasks: submit_tasks,
    commands.ClaimTask: claim_task,
    commands.TaskResult: task_result,
    commands.TaskResults: task_results,
    commands.Ack: ack,
    commands.Nack: nack,
    commands.ExtendLease: extend_lease,
    commands.Heartbeat: heartbeat,
    commands.RegisterWorker: register_worker,
    commands.DeregisterWorker: deregister_worker,
    commands.CancelTask: cancel_task,
    commands.CreateQueue: create_queue,
    commands.PauseQueue: pause_queue,
    commands.ResumeQueue: resume_queue,
    commands.PurgeQueue: purge_queue,
    commands.DeleteQueue: delete_queue,
    commands.RedriveDead: redrive_dead,
    commands.DeleteDead: delete_dead,
    commands.Advance: advance,
    commands.Configure: configure,
    commands.Retain: retain,
    commands.SkipTokens: skip_tokens,
    commands.RaiseLevel: raise_level,
}

QUESTIONS: dict[type, Callable[[State, Any, Limit | None], Any]] = {
    commands.QueryStatus: query_status,
    commands.GetStats: get_stats,
    commands.ListTasks: list_tasks,
    commands.ListWorkers: list_workers,
    commands.ListQueues: list_queues,
    commands.ListDead: list_dead,
}


class Applied(NamedTuple):
    """What an entry did. `results`: a reply (`Granted` for claims) or a `Refusal` per command.

    `readied`: queues in which tasks became ready; `ended`: ids of tasks that reached a final state;
    `cancels`: running tasks that should stop; `lost`: leases that ended without an outcome.
    """

    results: list[Any]
    readied: set[str]
    ended: list[bytes]
    cancels: list[CancelWanted]
    lost: list[LeaseLost]


class Machine:
    """The queue's state machine over a view."""

    def __init__(self, view: View, level_max: int = LEVEL_MAX) -> None:
        """Loads the caches from the heads; costs nothing that grows with the backlog. `level_max`:
        entries above that feature level are refused."""
        self._state = State(view)
        self._level_max = level_max

    def apply(self, entry: bytes) -> Applied:
        """Carries out the commands of a log entry, in order. Raises UnreadableEntry for one that
        another version must apply; nothing was changed."""
        elapsed, wall, decoded = decode_entry(entry, self._level_max)
        state = self._state
        state.begin(elapsed, wall)
        results = [HANDLERS[type(command)](state, command) for command in decoded]
        state.save()
        return Applied(results, state.readied, state.ended, state.cancels, state.lost)

    def reply(self, result: Any) -> Any:
        """The reply that goes on the wire for a result; before the next entry is applied."""
        if type(result) is Granted:
            return with_payloads(self._state, result)
        return result

    def ask(self, question: Any, limit: Limit | None = None) -> Any:
        """Answers a READ message from the applied state; `limit` is that of `queries.py`."""
        return QUESTIONS[type(question)](self._state, question, limit)

    def has_ready(self, queues: Iterable[str]) -> bool:
        """Whether a claim of these queues would find a task (or one whose TTL just ended)."""
        for name in queues:
            queue = self._state.queues.find(name)
            if queue is not None and not queue.paused and queue.ready:
                return True
        return False

    def ready_count(self, queue: str) -> int:
        """Tasks of a queue that a claim could take now."""
        found = self._state.queues.find(queue)
        return 0 if found is None or found.paused else found.ready

    def has_claim(self, worker_id: bytes, number: int) -> bool:
        """Whether a claim of this number is answered without taking anything new: it returned tasks
        before, or the worker has confirmed its answer."""
        worker = self._state.workers.find(worker_id)
        return worker is not None and (number < worker.claim_floor or number in worker.claims)

    def is_valid(self, token: int) -> bool:
        """Whether a token is valid: an outcome under any other changes nothing."""
        return token in self._state.leases.by_token

    def next_dead_drop_ms(self) -> int:
        """When the oldest dead letter will be past its age, in wall time; far away if none is."""
        state = self._state
        return state.indices[keys.DEAD].next() + state.settings.dead_retention_ms

    def overdue_leases(self, until_ms: int) -> int:
        """How many leases ended before `until_ms` (cluster time) and are still held."""
        return sum(lease.deadline < until_ms for lease in self._state.leases.by_token.values())

    def knows(self, task_id: bytes) -> bool:
        """Whether a submit of this id is a repeat: its task is there, or was removed lately."""
        return is_known(self._state, task_id)

    def is_final(self, task_id: bytes) -> bool | None:
        """Whether a task has ended; None where it is not known."""
        task = load_task(self._state, task_id)
        return None if task is None else task.state >= COMPLETED

    def queue_of(self, task_id: bytes) -> str | None:
        """The queue of a task, which never changes; None where the task is not known."""
        task = load_task(self._state, task_id)
        return None if task is None else task.queue

    def next_due(self) -> tuple[int, int]:
        """When an `Advance` is due next: (cluster time, wall time)."""
        return next_due(self._state)

    def next_retention(self) -> tuple[int, bool]:
        """When a `Retain` is due next by age (wall time), and whether it is due now (by bytes, or
        because ids may be forgotten)."""
        return next_retention(self._state)

    @property
    def waiting_size(self) -> int:
        """Bytes of all waiting tasks: an upper bound of what a claim can return."""
        return self._state.counters.waiting_size

    @property
    def elapsed_ms(self) -> int:
        """Cluster time of the last entry."""
        return self._state.elapsed

    @property
    def wall_ms(self) -> int:
        """The log's wall time."""
        return self._state.wall

    @property
    def level(self) -> int:
        """The cluster's feature level."""
        return self._state.level

    @property
    def settings(self) -> Settings:
        """The replicated limits."""
        return self._state.settings

    def check(self) -> None:
        """Asserts the account of tasks (P2)."""
        self._state.counters.check()
