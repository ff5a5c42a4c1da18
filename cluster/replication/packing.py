"""Group commit: cuts what was proposed into entries that are short to apply and fit the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from taskq import commands
from taskq.levels import LEVEL_FIRST
from taskq.limits import ENTRY_SIZE_MAX
from taskq.machine.entry import encode_entry

# Tasks in one entry, about: it takes a few milliseconds to apply, after which answers go out while
# the next is applied. A single batch may be larger.
ENTRY_WEIGHT = 256
# What is counted for a claim at most: few find as many tasks as they ask for.
CLAIM_WEIGHT_MAX = 100


class Sink(Protocol):
    """Whoever waits for answers; see `Replica`."""

    def deliver(self, tag: Any, value: Any) -> None: ...


Proposal = tuple[Any, Sink, Any]  # command, sink, tag

# Leases that a heartbeat names for what one task costs elsewhere.
TOKENS_PER_WEIGHT = 8
# Commands that act on more than one task, and on how many at most.
_WEIGHTS: dict[type, Callable[[Any], int]] = {
    commands.SubmitTasks: lambda command: len(command.tasks),
    commands.TaskResults: lambda command: len(command.outcomes),
    commands.ClaimTask: lambda command: min(command.max_tasks, CLAIM_WEIGHT_MAX),
    commands.Heartbeat: lambda command: 1 + len(command.tokens) // TOKENS_PER_WEIGHT,
    commands.RedriveDead: lambda command: len(command.task_ids),
    commands.DeleteDead: lambda command: len(command.task_ids),
    commands.PurgeQueue: lambda command: command.limit,
    commands.Advance: lambda command: command.limit,
    commands.Retain: lambda command: command.limit,
    commands.RaiseLevel: lambda command: ENTRY_WEIGHT,  # an entry of its own
}


Part = tuple[list[Proposal], bytes]


def pack(elapsed: int, wall: int, waiting: list[Proposal], level: int = LEVEL_FIRST) -> list[Part]:
    """The entries made of all proposals, in order, each with those that it carries. `level`: the
    cluster's feature level."""
    return [part for batch in _by_weight(waiting) for part in _encode(elapsed, wall, batch, level)]


def _by_weight(waiting: list[Proposal]) -> list[list[Proposal]]:
    if len(waiting) == 1:
        return [waiting]
    batches: list[list[Proposal]] = []
    batch: list[Proposal] = []
    weight = 0
    for proposal in waiting:
        command = proposal[0]
        weigh = _WEIGHTS.get(type(command))
        one = 1 if weigh is None else weigh(command)
        if batch and weight + one > ENTRY_WEIGHT:
            batches.append(batch)
            batch, weight = [], 0
        batch.append(proposal)
        weight += one
    batches.append(batch)
    return batches


def _encode(elapsed: int, wall: int, batch: list[Proposal], level: int) -> list[Part]:
    """The entries of a batch: one, or several where it would exceed 4 MiB. A single command larger
    than that goes alone."""
    first = batch[0][0]
    if type(first) is commands.RaiseLevel:  # alone, and refused by whoever does not run that level
        level = max(level, first.level)
    entry = encode_entry(elapsed, wall, [proposal[0] for proposal in batch], level)
    if len(entry) <= ENTRY_SIZE_MAX or len(batch) == 1:
        return [(batch, entry)]
    half = len(batch) // 2
    rest = _encode(elapsed, wall, batch[half:], level)
    return [*_encode(elapsed, wall, batch[:half], level), *rest]
