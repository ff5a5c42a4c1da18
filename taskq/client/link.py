"""The client's way to the cluster on one event loop: calls in, replies out, whatever breaks.

    idle --first call--> dialing --open--> connected --lost--> dialing (while calls wait), else idle
                            ^                  |
                            +-- back-off       +-- leader elsewhere: a second connection takes over

Owns the outbox, the deadlines, reconnecting and repeating. One future per call; no task but the
one that dials, and none while connected.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable, Collection
from copy import copy
from typing import Any, Protocol

from taskq.client.address import Address, Target
from taskq.client.call import Call
from taskq.client.connection import Connection
from taskq.client.deadlines import Deadlines
from taskq.client.dial import CONNECT_SECONDS, Dialer
from taskq.client.outbox import Outbox
from taskq.errors import (
    ConnectionFailed,
    ErrorCode,
    OutcomeUnknown,
    PermissionDenied,
    Refusal,
    RequestRefused,
    TaskqError,
)
from taskq.results import HelloReply

# Pause after a round over all nodes: random between 0 and a bound that doubles, so that a thousand
# clients of a restarted node do not return in step.
BACKOFF_SECONDS = 0.05
BACKOFF_SECONDS_MAX = 1.0
# A node that does not lead and knows of no leader that can be reached is asked again after so long,
# doubling. It says by itself when another leads.
SEEK_SECONDS = 0.5
SEEK_SECONDS_MAX = 10.0
# A thousand clients that hear of a new leader at once go there within this time.
MOVE_SECONDS = 0.1
# For a node that is asked whether a silent one still leads.
ASK_SECONDS = 0.5


class Listener(Protocol):
    """Who hears what a node sends by itself."""

    def pushed(self, command: Any) -> None: ...


class Link:
    """Carries calls to the cluster; belongs to one event loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        target: Target,
        client: str,
        ssl_context: ssl.SSLContext | None,
        listeners: Collection[Listener],
    ) -> None:
        self.loop = loop
        self.closed = False
        self._listeners = listeners
        self._outbox = Outbox()
        self._connection: Connection | None = None
        self._draining: set[Connection] = set()
        self._dialer = Dialer(
            target,
            lambda: Connection(loop, self._outbox, self, client, target.key),
            ssl_context,
        )
        self._dialing: asyncio.Task[None] | None = None
        self._moving: asyncio.Task[None] | None = None
        self._deadlines = Deadlines(loop, self._expired)
        self._looking: asyncio.Task[None] | None = None
        self._seeking: asyncio.TimerHandle | None = None
        self._seek_seconds = SEEK_SECONDS
        self._avoided: set[Address] = set()  # where we come from
        self._reason = ""
        self._failures = 0  # connections in a row that opened and answered nothing

    # --- calls -------------------------------------------------------------------------------

    def send(
        self,
        command: Any,
        timeout: float,
        *,
        retry_full: bool = False,
        late: Callable[[Any], None] | None = None,
    ) -> asyncio.Future[Any]:
        """The future of the reply to a command, to come within `timeout` seconds.

        It ends with the reply, or with RequestRefused, ConnectionFailed or OutcomeUnknown.
        Cancelling it leaves everything else as it is. `late` gets a reply that comes after that.
        """
        if self.closed:
            raise ConnectionFailed("the client is closed")
        loop = self.loop
        deadline = loop.time() + timeout
        future: asyncio.Future[Any] = loop.create_future()
        call = Call(command, deadline, future, retry_full=retry_full, late=late)
        self._deadlines.add(call, timeout)
        self._outbox.add(call)
        connection = self._connection
        if connection is not None and connection.usable:
            connection.wake()
        else:
            self._dial()
        return future

    @property
    def connected(self) -> bool:
        """Whether a node is listening to us now."""
        return self._connection is not None and self._connection.usable

    async def close(self) -> None:
        """Ends all calls and connections; nothing can be sent any more."""
        self.end()
        tasks = [task for task in self._tasks() if task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # transports close their sockets in the next round

    def end(self) -> None:
        """`close` without waiting; must run on the link's loop."""
        if self.closed:
            return
        self.closed = True
        error = ConnectionFailed("the client was closed")
        for task in self._tasks():
            if task is not None:
                task.cancel()
        if self._seeking is not None:
            self._seeking.cancel()
        for connection in (self._connection, *self._draining):
            if connection is not None:
                connection.abort(error)
        self._give_up(error)
        self._deadlines.clear()

    def _tasks(self) -> tuple[asyncio.Task[None] | None, ...]:
        return self._dialing, self._moving, self._looking

    # --- what connections tell ---------------------------------------------------------------

    def lost(self, connection: Connection, calls: list[Call], error: TaskqError) -> None:
        """A connection ended; what it had not answered is repeated on the next."""
        self._draining.discard(connection)
        if connection is self._connection:
            self._connection = None
            self._avoided = self._dialer.addresses_of(connection)
            self._failures = 0 if connection.productive else self._failures + 1
            if not connection.productive:
                self._dialer.turn()  # it greets and does not serve: the next one first
        if calls:
            self._reason = f": {error}"
        for call in calls:
            before = call.deadline
            call.lose()
            if call.deadline < before:
                self._deadlines.add(call, before - self.loop.time())
        self._outbox.give_back(calls)
        if self._outbox:
            self._resume()

    def refused(self, call: Call, refusal: Refusal) -> None:
        """A node said no: another attempt, or the end of the call."""
        elsewhere = False
        connection = self._connection
        if connection is not None and connection.usable:
            if refusal.code == ErrorCode.NO_LEADER.value:
                connection.ping()  # its answer names the leader
            elif refusal.code == ErrorCode.UNAVAILABLE.value and not refusal.unknown:
                elsewhere = self._leave(connection)
        if not call.wants_another_attempt(refusal):
            call.refuse(refusal)
            return
        pause = call.pause(refusal, elsewhere=elsewhere or connection is None)
        if self.loop.time() + pause >= call.deadline:
            call.refuse(refusal)
        elif pause:
            self.loop.call_later(pause, self._send_again, call)
        else:
            self._send_again(call)

    def _leave(self, connection: Connection) -> bool:
        """The node cannot serve (it stops, its disk fails): asks another one from now on, if any is
        known."""
        if not self._dialer.others(connection):
            return False
        self._connection = None
        self._avoided = self._dialer.addresses_of(connection)
        self._draining.add(connection)
        connection.drain()
        return True

    def pushed(self, command: Any) -> None:
        """A node sent something by itself."""
        for listener in tuple(self._listeners):
            # In a round of its own: what a listener raises must not end the connection.
            self.loop.call_soon(listener.pushed, command)

    def leader_seen(self, connection: Connection, leader: str) -> None:
        """The node names the leader: move there if it is another node."""
        hello = connection.hello
        if connection is not self._connection or hello is None or self.closed:
            return
        if leader == hello.node_id:
            self._seek_seconds = SEEK_SECONDS
        elif not leader:
            self._seek(connection)
        elif self._moving is None:
            self._moving = self.loop.create_task(self._move(connection, leader))

    def announced(self, connection: Connection, hello: HelloReply) -> None:
        """The node says by itself that another one leads."""
        self._dialer.learn(hello)
        pause = random.uniform(0, MOVE_SECONDS)
        self.loop.call_later(pause, self.leader_seen, connection, hello.leader)

    def suspected(self, connection: Connection) -> None:
        """Not a byte from a node that owes answers: is it still what the others take it for?"""
        if connection is self._connection and self._looking is None and not self.closed:
            others = self._dialer.others(connection)
            if others:
                self._looking = self.loop.create_task(self._look_around(connection, others))

    def _seek(self, connection: Connection) -> None:
        if self._seeking is None:
            self._seeking = self.loop.call_later(self._seek_seconds, self._ask_for, connection)
            self._seek_seconds = min(2 * self._seek_seconds, SEEK_SECONDS_MAX)

    def _ask_for(self, connection: Connection) -> None:
        self._seeking = None
        if connection is self._connection and connection.usable:
            connection.ping()

    def _expired(self, call: Call, timeout: float) -> None:
        held = call.connection
        call.expire(f"{timeout:g} s", "" if held else self._reason)
        if held is not None:
            held.ping()  # a node that is there answers at once; one that is not gets noticed

    # --- connecting --------------------------------------------------------------------------

    def _resume(self) -> None:
        if self._connection is not None and self._connection.usable:
            self._connection.wake()
        else:
            self._dial()

    def _send_again(self, call: Call) -> None:
        if not call.future.done() and not self.closed:
            self._outbox.add(call)
            self._resume()

    def _dial(self) -> None:
        if self._dialing is None and not self.closed:
            self._dialing = self.loop.create_task(self._dial_until_open())

    async def _dial_until_open(self) -> None:
        try:
            await self._open()
        finally:
            self._dialing = None
        if not self._wanted():
            self._outbox.take_all()
        elif not self.connected:
            self._dial()  # lost, or called, while the last lines ran

    async def _open(self) -> None:
        if self._failures > 1:
            await asyncio.sleep(_pause(self._failures))
        number = 0
        while self._wanted():
            try:
                connection = await self._dialer.round(number, self._avoided)
            except RequestRefused as error:
                self._reason = f": {error}"
                if isinstance(error, PermissionDenied) or not _passes(error):
                    self._give_up(error)
                    return
                self._note_refusal(error)
            except TaskqError as error:
                self._reason = f": {error}"
            else:
                self._adopt(connection)
                if connection.hello is not None:
                    self.leader_seen(connection, connection.hello.leader)
                return
            self._outbox.prune()
            await asyncio.sleep(_pause(number))
            number += 1

    def _wanted(self) -> bool:
        return any(not call.future.done() for call in self._outbox)

    def _adopt(self, connection: Connection) -> None:
        old, self._connection = self._connection, connection
        if old is not None and old is not connection and old.usable:
            self._draining.add(old)
            old.drain()
        if connection.usable:
            connection.wake()

    async def _move(self, connection: Connection, leader: str) -> None:
        try:
            address = self._dialer.address_of(leader)
            if address is None and connection.address is not None:
                # When it greeted us it had not heard yet where clients reach that node.
                again = await self._dialer.connect(connection.address, CONNECT_SECONDS)
                again.drain()
                address = self._dialer.address_of(leader)
            if address is None:
                self._seek(connection)
                return
            better = await self._dialer.connect(address, CONNECT_SECONDS)
            if self._connection is connection or self._connection is None:
                self._adopt(better)
                if better.hello is not None and better.hello.leader != better.hello.node_id:
                    self._seek(better)
            else:
                better.drain()
        except TaskqError:
            self._seek(connection)  # the member that we have forwards
        finally:
            self._moving = None

    async def _look_around(self, silent: Connection, others: list[Address]) -> None:
        try:
            other = await self._dialer.race(others, ASK_SECONDS)
        except TaskqError:
            return
        finally:
            self._looking = None
        before, now = silent.hello, other.hello
        assert before is not None
        assert now is not None
        leads = now.leader == before.node_id or now.term < before.term
        if self._connection is not silent or not silent.usable or leads:
            other.drain()
            return
        self._adopt(other)
        silent.abort(ConnectionFailed("the node was silent, and the others do without it"))
        self.leader_seen(other, now.leader)

    def _note_refusal(self, error: RequestRefused) -> None:
        refusal = Refusal(str(error.code), error.message, int(error.retry_after * 1000))
        for call in self._outbox:
            if call.refusal is None:
                call.refusal = refusal

    def _give_up(self, error: TaskqError) -> None:
        """Ends all waiting calls: no node will ever take them."""
        for call in self._outbox.take_all():
            if call.unknown and call.changes_state:
                call.fail(OutcomeUnknown(f"{call.row.name}: may have been carried out: {error}"))
            else:
                call.fail(copy(error))  # each caller's traceback goes into its own


def _pause(number: int) -> float:
    """Seconds before the next attempt after `number` failures before this one; full jitter."""
    return random.uniform(0, min(BACKOFF_SECONDS * 2 ** min(number, 10), BACKOFF_SECONDS_MAX))


def _passes(error: RequestRefused) -> bool:
    return error.code in (
        ErrorCode.TOO_MANY_CONNECTIONS.value,
        ErrorCode.NO_LEADER.value,
        ErrorCode.UNAVAILABLE.value,
    )
