"""Requests that wait on this node: claims for a task, queries for the end of one.

Nothing is ever left hanging: each is answered when it has what it wants, when its wait ends, when
this node leads no more, or when it stops.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from cluster.server.farewells import Farewells
from cluster.server.parked_claims import ParkedClaims
from cluster.server.parked_queries import ParkedQueries
from cluster.server.replica import Replica
from cluster.server.wait_clock import WaitClock, Waiter
from taskq.commands import ClaimTask
from taskq.errors import Refusal
from taskq.machine.machine import Applied

if TYPE_CHECKING:
    from cluster.server.requester import Requester, Tag


class Waiting:
    """See the module. `read` answers a query (`Dispatcher`), set by `bind`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, replica: Replica, count_max: int) -> None:
        self.loop = loop
        self._clock = WaitClock(loop, count_max)
        self.claims = ParkedClaims(replica, self._clock)
        self.queries = ParkedQueries(replica, self._clock)
        self.claim = self.claims.claim
        self.deregister = Farewells(replica, self.claims).deregister
        self.query = self.queries.query

    def bind(
        self, answer: Callable[[Requester, Tag], None], read: Callable[[Requester, Tag], None]
    ) -> None:
        """How queries are answered from the applied state, and how they are read anew."""
        self.queries.bind(answer, read)

    def applied(self, applied: Applied) -> None:
        """An entry was applied and its results delivered."""
        self.claims.applied(applied)
        self.queries.applied(applied)

    def drop(self, session: Requester) -> None:
        """The session's connection was lost: nothing of it is proposed any more."""
        for waiter in list(session.parked):
            self.drop_one(waiter)

    def drop_one(self, waiter: Waiter) -> None:
        """Nobody waits for this request any more."""
        if type(waiter.tag[1].command) is ClaimTask:
            self.claims.drop(waiter)
        else:
            self.queries.drop(waiter)

    def refuse_all(self, refusal: Refusal, *, stale: bool = False) -> None:
        """Answers everything that waits for the leader; with `stale` really everything."""
        self.claims.refuse_all(refusal)
        self.queries.refuse_all(refusal, stale=stale)

    def stop(self) -> None:
        """No timer is left behind."""
        self._clock.stop()
