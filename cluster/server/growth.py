"""While the disk is nearly full: refuses what makes the state grow, lets pass what drains it.

Ids that are known already are let pass, because their answer changes nothing. A batch is answered
member by member: what may pass is proposed, and its answers are put back into their places.
"""

from __future__ import annotations

from typing import Any

from cluster.server.replica import Replica
from cluster.server.requester import Requester, Tag
from taskq.commands import RedriveDead, SubmitTask, SubmitTasks, TaskResult, TaskResults
from taskq.errors import Refusal
from taskq.limits import KIB
from taskq.machine.machine import Machine
from taskq.results import BatchReply

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


def propose_rest(
    replica: Replica, refusal: Refusal, session: Requester, tag: Tag, command: Any
) -> None:
    """Proposes the members of a batch that do not grow the state, and refuses the others."""
    members = command[0]
    refused = [_member_grows(replica.machine, type(command), member) for member in members]
    kept = [member for member, no in zip(members, refused, strict=True) if not no]
    rest = _Rest(session, tag, refused, refusal)
    if kept:
        replica.propose(type(command)(kept), rest, None)
    else:
        rest.deliver(None, BatchReply([]))


def _member_grows(machine: Machine, shape: type, member: Any) -> bool:
    if shape is SubmitTasks:
        return member[_ID] is None or not machine.knows(member[_ID])
    if shape is TaskResults:
        result = member[_RESULT] if len(member) > _RESULT else None
        return _adds_result(machine, member[_TOKEN], result)
    assert shape is RedriveDead
    return True


class _Rest:
    """Waits for the answers to what was proposed of a batch."""

    __slots__ = ("_refusal", "_refused", "_session", "_tag")

    def __init__(self, session: Requester, tag: Tag, refused: list[bool], refusal: Refusal) -> None:
        self._session = session
        self._tag = tag
        self._refused = refused
        self._refusal = refusal

    def deliver(self, _: Any, value: Any) -> None:
        """Puts refusals and answers in the order of the batch."""
        if not isinstance(value, Refusal):
            answers = iter(value.answers)
            value = BatchReply(
                [[False, self._refusal] if no else next(answers) for no in self._refused]
            )
        self._session.deliver(self._tag, value)
