"""What is asked and wanted of the nodes themselves: the status, another leader, other members,
another feature level."""

from __future__ import annotations

import asyncio
from typing import Any

from cluster.server.replica import Replica
from cluster.server.requester import Handler, Requester, Tag
from taskq.errors import ErrorCode, Refusal, refuse
from taskq.results import Transferred, Upgraded

# After a leader gave up its place, how long its successor may take to be heard of. Seconds.
SUCCESSOR_SECS = 5.0
RETRY_AFTER_MS = 200


class ClusterQuestions:
    """See the module. `elsewhere` is the way of requests that need the leader. It is the sink of
    the transfers that it begins; their tags are (requester, its tag)."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, replica: Replica, elsewhere: Handler
    ) -> None:
        self._loop = loop
        self._replica = replica
        self._elsewhere = elsewhere
        self._waiting: dict[tuple[Requester, Tag], asyncio.TimerHandle] = {}
        replica.on_leader(self._leader_changed)

    def status(self, session: Requester, tag: Tag) -> None:
        """GetCluster: what the leader knows, or with `stale` this node."""
        if tag[1].command.stale or self._replica.is_leader():
            session.answer(tag, self._replica.cluster_status())
        else:
            self._elsewhere(session, tag)

    def transfer(self, session: Requester, tag: Tag) -> None:
        """TransferLeadership: begun at the leader, answered when another node leads."""
        target = tag[1].command.target
        if not self._replica.is_leader():
            self._elsewhere(session, tag)
        elif target == self._replica.node_id:
            session.answer(tag, self._led())
        else:
            self._replica.transfer(target, self, (session, tag))

    def change_members(self, session: Requester, tag: Tag) -> None:
        """AddMember, RemoveMember: the leader begins, or says how far it is."""
        if self._replica.is_leader():
            session.answer(tag, self._replica.change_members(tag[1].command))
        else:
            self._elsewhere(session, tag)

    def upgrade(self, session: Requester, tag: Tag) -> None:
        """UpgradeCluster: answered when the level has been raised, or stays."""
        if self._replica.is_leader():
            self._replica.level.raise_to(tag[1].command.level, _Raised(session), tag)
        else:
            self._elsewhere(session, tag)

    def deliver(self, tag: tuple[Requester, Tag], value: Any) -> None:
        """What became of a transfer: None where this node leads no more."""
        session, request = tag
        if type(value) is Refusal:
            session.answer(request, value)
        elif self._replica.leader not in ("", self._replica.node_id):
            session.answer(request, self._led())
        else:
            self._waiting[tag] = self._loop.call_later(SUCCESSOR_SECS, self._expire, tag)

    def _leader_changed(self, leader: str) -> None:
        if leader and self._waiting:
            waiting, self._waiting = self._waiting, {}
            for (session, request), timer in waiting.items():
                timer.cancel()
                session.answer(request, self._led())

    def _expire(self, tag: tuple[Requester, Tag]) -> None:
        del self._waiting[tag]
        text = f"{self._replica.node_id} gave up the lead, and nobody has taken it yet"
        tag[0].answer(tag[1], refuse(ErrorCode.UNAVAILABLE, text, RETRY_AFTER_MS))

    def stop(self) -> None:
        """No timer is left behind."""
        for timer in self._waiting.values():
            timer.cancel()

    def _led(self) -> Transferred:
        return Transferred(self._replica.leader, self._replica.term)


class _Raised:
    """Takes what became of the feature level."""

    def __init__(self, session: Requester) -> None:
        self._session = session

    def deliver(self, tag: Tag, value: Any) -> None:
        self._session.answer(tag, value if type(value) is Refusal else Upgraded(*value))
