"""Workers that deregister: none of their claims that wait takes a task any more.

    deregister arrives --> parked claims answered empty --> proposed --> applied

Woken after its worker was forgotten, a claim would make the worker known again and lease a task to
nobody. What was claimed before is given back by the farewell itself (`taskq/machine/advance.py`); a
claim that is in the log just now and finds nothing is not parked again (`ParkedClaims.withdraw`).
"""

from __future__ import annotations

from typing import Any

from cluster.server.parked_claims import ParkedClaims
from cluster.server.replica import Replica
from cluster.server.requester import Requester, Tag


class Farewells:
    """See the module. It is the sink of what it proposes; a tag is (session, its tag)."""

    def __init__(self, replica: Replica, claims: ParkedClaims) -> None:
        self._replica = replica
        self._claims = claims

    def deregister(self, session: Requester, tag: Tag) -> None:
        """Proposes a `DeregisterWorker`, on the node that leads."""
        command = tag[1].command
        self._claims.withdraw(command.worker_id)
        self._replica.propose(command, self, (session, tag))

    def deliver(self, tag: tuple[Requester, Tag], value: Any) -> None:
        """What became of a farewell."""
        session, request = tag
        self._claims.withdrawn(request[1].command.worker_id)
        session.deliver(request, value)
