"""While the disk is nearly full: refuses what makes the state grow, lets pass what drains it.

Ids that are known already are let pass, because their answer changes nothing. A batch is answered
member by member (`partial_batch.py`).
"""

from __future__ import annotations

from typing import Any

from taskq.commands import RedriveDead, SubmitTask, SubmitTasks, TaskResult, TaskResults
from taskq.errors import Refusal
from taskq.limits import KIB
from taskq.machine.machine import Machine

# Completions with a small result drain more than they add.
SMALL_RESULT_SIZE = 4 * KIB

# Positions of fields in the members of batches.
_ID, _TOKEN, _RESULT = 0, 1, 3


def grows(machine: Machine, command: Any) -> bool:
    """Whether a command that is no batch makes the state grow."""
    if type(command) is SubmitTask:
        return command.id is None or not machine.knows(command.id)
    return type(command) is TaskResult and _adds_result(machine, command.token, command.result)


def _adds_result(machine: Machine, token: int, result: bytes | None) -> bool:
    """A repeat of an outcome is answered as before: only a valid token adds something."""
    return len(result or b"") > SMALL_RESULT_SIZE and machine.is_valid(token)


def refusals_of(machine: Machine, refusal: Refusal, command: Any) -> list[Refusal | None]:
    """Of each member of a batch, `refusal` where it makes the state grow, else None."""
    shape = type(command)
    return [refusal if _member_grows(machine, shape, member) else None for member in command[0]]


def _member_grows(machine: Machine, shape: type, member: Any) -> bool:
    if shape is SubmitTasks:
        return member[_ID] is None or not machine.knows(member[_ID])
    if shape is TaskResults:
        result = member[_RESULT] if len(member) > _RESULT else None
        return _adds_result(machine, member[_TOKEN], result)
    assert shape is RedriveDead
    return True
