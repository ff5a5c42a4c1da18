"""What a key that is limited to some queues may do: one rule for each message.

The node that carries a request out asks, because only the leader knows for certain which queue a
task is in; the limit travels there with the request (`forward_letters.py`). A message without a
rule is refused, and so are those that are about the cluster as a whole. A task of another queue is
answered as one that does not exist.

Worker ids are no secret, and whoever names one acts for that worker: the node to which a limited
key speaks puts an id of its scope in place of each that the key names (`Scope.known_as`). So no key
can name a worker of another scope, nor one of a key for all queues.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import partial
from hashlib import sha256
from typing import Any

from taskq import commands
from taskq.errors import ErrorCode, Refusal, refuse
from taskq.machine.machine import Machine
from taskq.machine.task import shown
from taskq.registry import MESSAGE_OF, Message

# Positions of fields in the members of batches, which stay lists as they came.
_ID, _QUEUE = 0, 1


# Of the 16 bytes of a worker's id, those that say which scope it belongs to.
_MARK_SIZE = 8


class Scope:
    """The queues whose names a pattern (`*`, `?`, `[...]`, case counts) takes in, and the workers
    of the keys that have it."""

    __slots__ = ("_mark", "covers", "pattern")

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.covers: Callable[[str], bool] = partial(fnmatchcase, pat=pattern)
        self._mark = sha256(pattern.encode()).digest()[:_MARK_SIZE]

    def holds(self, worker_id: bytes) -> bool:
        """Whether it is the id of a worker of this scope."""
        return worker_id.startswith(self._mark)

    def known_as(self, worker_id: bytes) -> bytes:
        """The id under which the cluster knows the worker that a key of this scope calls so."""
        return self._mark + sha256(worker_id).digest()[: len(worker_id) - _MARK_SIZE]


def _anything(_scope: Scope, _machine: Machine, _command: Any) -> None:
    """Its answer names nothing that is not covered, or is cut to what is."""


def _by_queue(scope: Scope, _machine: Machine, command: Any) -> Refusal | None:
    """No queue named (nil) means all that are covered."""
    return None if command.queue is None else _queue(scope, command.queue)


def _by_task(scope: Scope, machine: Machine, command: Any) -> Refusal | None:
    return _task(scope, machine, command.task_id)


def _by_worker(_scope: Scope, _machine: Machine, _command: Any) -> None:
    """The worker is one of this scope (`limit`)."""


def _claim(scope: Scope, _machine: Machine, command: commands.ClaimTask) -> Refusal | None:
    """The same for its worker: a repeat returns what a key of this scope was given before."""
    refusals = (_queue(scope, queue) for queue in command.queues)
    return next(filter(None, refusals), None)


def _queue(scope: Scope, queue: str) -> Refusal | None:
    if scope.covers(queue):
        return None
    text = f"the key covers the queues {scope.pattern}, and {queue} is none of them"
    return refuse(ErrorCode.PERMISSION_DENIED, text)


def _task(scope: Scope, machine: Machine, task_id: bytes) -> Refusal | None:
    queue = machine.queue_of(task_id)
    if queue is not None and scope.covers(queue):
        return None
    return refuse(ErrorCode.NOT_FOUND, f"there is no task {shown(task_id)}")


Rule = Callable[[Scope, Machine, Any], Refusal | None]

RULES: dict[type, Rule] = {
    commands.Ping: _anything,
    commands.GetCluster: _anything,
    commands.SubmitTask: _by_queue,
    commands.ClaimTask: _claim,
    commands.TaskResult: _by_task,
    commands.Ack: _by_task,
    commands.Nack: _by_task,
    commands.ExtendLease: _by_task,
    commands.CancelTask: _by_task,
    commands.Heartbeat: _by_worker,
    commands.RegisterWorker: _by_worker,
    commands.DeregisterWorker: _by_worker,
    commands.QueryStatus: _by_task,
    commands.GetStats: _anything,
    commands.ListTasks: _by_queue,
    commands.ListWorkers: _anything,
    commands.ListQueues: _anything,
    commands.ListDead: _by_queue,
    commands.CreateQueue: _by_queue,
    commands.PauseQueue: _by_queue,
    commands.ResumeQueue: _by_queue,
    commands.PurgeQueue: _by_queue,
    commands.DeleteQueue: _by_queue,
}

# Batches have no verdict as a whole: each member has its own.
MEMBER_RULES: dict[type, Rule] = {
    commands.SubmitTasks: lambda scope, _, task: _queue(scope, task[_QUEUE]),
    commands.TaskResults: lambda scope, machine, outcome: _task(scope, machine, outcome[_ID]),
    commands.RedriveDead: _task,
    commands.DeleteDead: _task,
}

_OF_WORKERS = frozenset(shape for shape in RULES if "worker_id" in shape._fields)  # type: ignore[attr-defined]

# What a limited key may send, as far as its role goes.
LIMITED_CODES = frozenset(MESSAGE_OF[shape].code for shape in (*RULES, *MEMBER_RULES))


def limit(handle: Callable[[Any, Any], None], scope: Scope) -> Callable[[Any, Any], None]:
    """A handler of requests that gives them the scope, and a worker of it where they name one: both
    stay with each, wherever it goes."""

    def handle_limited(session: Any, tag: Any) -> None:
        arrival, request = tag
        command = request.command
        if type(command) in _OF_WORKERS:
            command = command._replace(worker_id=scope.known_as(command.worker_id))
        handle(session, (arrival, request._replace(command=command, scope=scope)))

    return handle_limited


def lacking(message: Message) -> Refusal:
    """What a key is told whose role, or whose limit, does not take a message in."""
    text = f"{message.name} needs the role {message.role.value}"
    if message.code not in LIMITED_CODES:
        text += ", with a key for all queues"
    return refuse(ErrorCode.PERMISSION_DENIED, text)


def refusal_of(scope: Scope, machine: Machine, command: Any) -> Refusal | None:
    """Why a request of a limited key is refused as a whole, or None."""
    shape = type(command)
    if shape in MEMBER_RULES:
        return None
    rule = RULES.get(shape)
    if rule is None:
        return lacking(MESSAGE_OF[shape])
    return rule(scope, machine, command)


def refusals_of(scope: Scope, machine: Machine, batch: Any) -> Sequence[Refusal | None]:
    """Of each member of a batch (the first field of its message), why it is refused, or None."""
    rule = MEMBER_RULES[type(batch)]
    return [rule(scope, machine, member) for member in batch[0]]
