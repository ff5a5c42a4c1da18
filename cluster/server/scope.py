"""What a key that is limited to some queues may do: one rule for each message.

The node that carries a request out asks, because only the leader knows for certain which queue a
task is in; the limit travels there with the request (`forward_letters.py`). A message without a
rule is refused, and so are those that are about the cluster as a whole. A task of another queue is
answered as one that does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from taskq import commands
from taskq.errors import ErrorCode, Refusal, refuse
from taskq.machine.machine import Machine
from taskq.machine.task import shown
from taskq.registry import MESSAGE_OF, Message

# Positions of fields in the members of batches, which stay lists as they came.
_ID, _QUEUE = 0, 1


class Scope:
    """The queues whose names a pattern (`*`, `?`, `[...]`, case counts) takes in."""

    __slots__ = ("covers", "pattern")

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.covers: Callable[[str], bool] = partial(fnmatchcase, pat=pattern)


def _anything(_scope: Scope, _machine: Machine, _command: Any) -> None:
    """Its answer names nothing that is not covered, or is cut to what is."""


def _by_queue(scope: Scope, _machine: Machine, command: Any) -> Refusal | None:
    """No queue named (nil) means all that are covered."""
    return None if command.queue is None else _queue(scope, command.queue)


def _by_task(scope: Scope, machine: Machine, command: Any) -> Refusal | None:
    return _task(scope, machine, command.task_id)


def _by_worker(scope: Scope, machine: Machine, command: Any) -> Refusal | None:
    """A worker that runs tasks of other queues belongs to somebody else."""
    if all(map(scope.covers, machine.queues_held(command.worker_id))):
        return None
    text = f"worker {command.worker_id.hex()} runs tasks of queues that the key does not cover"
    return refuse(ErrorCode.PERMISSION_DENIED, text)


def _claim(scope: Scope, machine: Machine, command: commands.ClaimTask) -> Refusal | None:
    for queue in command.queues:
        refusal = _queue(scope, queue)
        if refusal is not None:
            return refusal
    # A repeat is answered with what that worker got before, whatever queues it names now.
    repeats = machine.has_claim(command.worker_id, command.claim_number)
    return _by_worker(scope, machine, command) if repeats else None


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
}

# Batches have no verdict as a whole: each member has its own.
MEMBER_RULES: dict[type, Rule] = {
    commands.SubmitTasks: lambda scope, _, task: _queue(scope, task[_QUEUE]),
    commands.TaskResults: lambda scope, machine, outcome: _task(scope, machine, outcome[_ID]),
    commands.RedriveDead: _task,
    commands.DeleteDead: _task,
}

# What a limited key may send, as far as its role goes.
LIMITED_CODES = frozenset(MESSAGE_OF[shape].code for shape in (*RULES, *MEMBER_RULES))


def limit(handle: Callable[[Any, Any], None], scope: Scope) -> Callable[[Any, Any], None]:
    """A handler of requests that gives them the scope: it stays with each, wherever it goes."""

    def handle_limited(session: Any, tag: Any) -> None:
        arrival, request = tag
        handle(session, (arrival, request._replace(scope=scope)))

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
