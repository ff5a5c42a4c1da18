"""Batches of which some members are refused before the log: the others are proposed, and their
answers are put back into their places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cluster.server.replica import Replica
from cluster.server.requester import Requester, Tag
from taskq.errors import Refusal
from taskq.results import BatchReply


def propose_rest(
    replica: Replica,
    refusals: Sequence[Refusal | None],
    session: Requester,
    tag: Tag,
    command: Any,
) -> None:
    """Proposes the members of a batch that have no refusal."""
    members = command[0]
    kept = [member for member, no in zip(members, refusals, strict=True) if no is None]
    rest = _Rest(session, tag, refusals)
    if kept:
        replica.propose(type(command)(kept), rest, None)
    else:
        rest.deliver(None, BatchReply([]))


class _Rest:
    """Waits for the answers to what was proposed of a batch."""

    __slots__ = ("_refusals", "_session", "_tag")

    def __init__(self, session: Requester, tag: Tag, refusals: Sequence[Refusal | None]) -> None:
        self._session = session
        self._tag = tag
        self._refusals = refusals

    def deliver(self, _: Any, value: Any) -> None:
        """Puts refusals and answers in the order of the batch."""
        if not isinstance(value, Refusal):
            answers = iter(value.answers)
            value = BatchReply(
                [next(answers) if no is None else [False, no] for no in self._refusals]
            )
        self._session.deliver(self._tag, value)
