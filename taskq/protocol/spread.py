"""What a decoded request takes in memory beyond its bytes on the wire, about. Pure.

Small values spread most: a header of two empty texts is two bytes on the wire and 200 in memory.
The codec adds it to the size of a request, so that limits on what is in flight mean memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taskq import commands
from taskq.limits import KIB

# A member of a batch: its list, its numbers, its place among the answers.
MEMBER_COST = 256
# Two texts and their place in a dictionary.
HEADER_COST = 256
# An integer and its place in a list.
TOKEN_COST = 48
# A task id and its place in a list.
ID_COST = 64
# The text, and the claim's place in the line of those that wait for this queue.
QUEUE_COST = KIB

_HEADERS = commands.SubmitTask._fields.index("headers")


def _submits(command: commands.SubmitTasks) -> int:
    tasks: list[Any] = command.tasks  # lists, as they came
    headers = sum([len(task[_HEADERS]) for task in tasks if len(task) > _HEADERS])
    return MEMBER_COST * len(tasks) + HEADER_COST * headers


def _ids(command: commands.RedriveDead | commands.DeleteDead) -> int:
    return (MEMBER_COST + ID_COST) * len(command.task_ids)


# Only messages whose fields may be many.
SPREAD: dict[type, Callable[[Any], int]] = {
    commands.SubmitTask: lambda command: HEADER_COST * len(command.headers),
    commands.SubmitTasks: _submits,
    commands.TaskResults: lambda command: MEMBER_COST * len(command.outcomes),
    commands.ClaimTask: lambda command: QUEUE_COST * len(command.queues),
    commands.Heartbeat: lambda command: TOKEN_COST * len(command.tokens),
    commands.RedriveDead: _ids,
    commands.DeleteDead: _ids,
}
