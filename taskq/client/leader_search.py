"""Keeps a link with the leader: goes there when a node names it, asks where none is named, looks
whether the others have another one when a node says nothing, or knows of none for long.

A node that does not lead passes requests on, so that all of this is about time, not about success.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from taskq.client.address import Address
from taskq.client.connection import Connection
from taskq.client.dial import CONNECT_SECONDS, Dialer
from taskq.client.tls import TlsRefused
from taskq.errors import ConnectionFailed, TaskqError
from taskq.results import HelloReply

_log = logging.getLogger("taskq.client")

# A node that does not lead and names no leader that can be reached is asked again after so long,
# doubling. It says by itself when another leads.
SEEK_SECONDS = 0.5
SEEK_SECONDS_MAX = 10.0
# The others are asked after so long when a node knows of no leader, doubling as well: an election
# is over by then.
LEADERLESS_SECONDS = 0.25
# A thousand clients that hear of a new leader at once go there within this time.
MOVE_SECONDS = 0.1
# For a node that is asked whether a silent one still leads.
ASK_SECONDS = 0.5


class LeaderSearch:
    """See the module. `current()`: the connection in use; `adopt(connection)` takes its place."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        dialer: Dialer,
        current: Callable[[], Connection | None],
        adopt: Callable[[Connection], None],
    ) -> None:
        self._loop = loop
        self._dialer = dialer
        self._current = current
        self._adopt = adopt
        self._moving: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._seeking: asyncio.TimerHandle | None = None
        self._seek_seconds = SEEK_SECONDS
        self._leaderless: tuple[Connection, asyncio.TimerHandle] | None = None
        self._leaderless_seconds = LEADERLESS_SECONDS
        self._stopped = False
        self._told = False

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """What is under way."""
        return [task for task in (self._moving, self._looking) if task is not None]

    def stop(self) -> None:
        """Ends what is under way; nothing begins any more."""
        self._stopped = True
        for task in self.tasks:
            task.cancel()
        if self._seeking is not None:
            self._seeking.cancel()
        self._forget_leaderless()

    # --- what nodes tell ---------------------------------------------------------------------

    def seen(self, connection: Connection, leader: str) -> None:
        """The node names the leader: move there if it is another node."""
        hello = connection.hello
        if connection is not self._current() or hello is None or self._stopped:
            return
        if not leader:
            self._look_soon(connection)
            return
        self._forget_leaderless()
        self._leaderless_seconds = LEADERLESS_SECONDS
        if leader == hello.node_id:
            self._seek_seconds = SEEK_SECONDS
        elif self._moving is None:
            self._moving = self._loop.create_task(self._move(connection, leader))

    def announced(self, connection: Connection, hello: HelloReply) -> None:
        """The node says by itself that another one leads."""
        self._dialer.learn(hello)
        pause = random.uniform(0, MOVE_SECONDS)
        self._loop.call_later(pause, self.seen, connection, hello.leader)

    def suspected(self, connection: Connection) -> None:
        """Not a byte from a node that owes answers: is it still what the others take it for?"""
        self._look(connection, "the node was silent, and the others do without it")

    def _look(self, connection: Connection, why: str, *, leaderless: bool = False) -> None:
        if connection is self._current() and self._looking is None and not self._stopped:
            others = self._dialer.others(connection)
            if others:
                random.shuffle(others)  # the first may be cut off together with this one
                look = self._look_around(connection, others, why, leaderless=leaderless)
                self._looking = self._loop.create_task(look)

    # --- going there -------------------------------------------------------------------------

    async def _move(self, connection: Connection, leader: str) -> None:
        try:
            address = await self._address_of(connection, leader)
            if address is None:
                self._seek(connection)
                return
            better = await self._dialer.connect(address, CONNECT_SECONDS)
            if self._current() in (connection, None):
                self._adopt(better)
                assert better.hello is not None
                self.seen(better, better.hello.leader)
                if better.hello.leader != better.hello.node_id:
                    self._seek(better)
            else:
                better.drain()
        except TaskqError as error:
            self._seek(connection)  # the member that we have passes requests on
            if isinstance(error, TlsRefused) and not self._told:
                self._told = True
                _log.warning("the leader, %s, is out of reach: %s", leader, error)
        finally:
            self._moving = None

    async def _address_of(self, connection: Connection, leader: str) -> Address | None:
        address = self._dialer.address_of(leader)
        if address is None and connection.address is not None:
            # When it greeted us it had not heard yet where clients reach that node.
            again = await self._dialer.connect(connection.address, CONNECT_SECONDS)
            again.drain()
            address = self._dialer.address_of(leader)
        return address

    def _seek(self, connection: Connection) -> None:
        if self._seeking is None and not self._stopped:
            self._seeking = self._loop.call_later(self._seek_seconds, self._ask, connection)
            self._seek_seconds = min(2 * self._seek_seconds, SEEK_SECONDS_MAX)

    def _ask(self, connection: Connection) -> None:
        self._seeking = None
        if connection is self._current() and connection.usable:
            connection.ping()  # its answer names the leader

    # --- away from a node that knows of none -------------------------------------------------

    def _look_soon(self, connection: Connection) -> None:
        """Cut off from the other nodes, it would hold our requests as long as that lasts."""
        if self._leaderless is not None:
            if self._leaderless[0] is connection:
                return
            self._forget_leaderless()
        pause = self._leaderless_seconds + random.uniform(0, MOVE_SECONDS)
        timer = self._loop.call_later(pause, self._look_further, connection)
        self._leaderless = connection, timer
        self._leaderless_seconds = min(2 * self._leaderless_seconds, SEEK_SECONDS_MAX)

    def _look_further(self, connection: Connection) -> None:
        self._leaderless = None
        if connection is self._current() and connection.usable:
            self._look(
                connection, "the node knew of no leader, and another one did", leaderless=True
            )
            self._look_soon(connection)  # until its ping's answer names one
            connection.ping()

    def _forget_leaderless(self) -> None:
        if self._leaderless is not None:
            self._leaderless[1].cancel()
            self._leaderless = None

    async def _look_around(
        self, left: Connection, others: list[Address], why: str, *, leaderless: bool
    ) -> None:
        """`leaderless`: the node answers, and is left only for one that names a leader."""
        try:
            other = await self._dialer.race(others, ASK_SECONDS)
        except TaskqError:
            return
        finally:
            self._looking = None
        before, now = left.hello, other.hello
        assert before is not None
        assert now is not None
        stays = now.leader == before.node_id or now.term < before.term
        if leaderless and (not now.leader or self._leaderless is None):
            stays = True  # no better off; or the node that we have has found one meanwhile
        if self._current() is not left or not left.usable or stays:
            other.drain()
            return
        self._adopt(other)
        left.abort(ConnectionFailed(why))
        self.seen(other, now.leader)
