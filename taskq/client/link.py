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
from collections.abc import Callable, Collection
from copy import copy
from typing import Any, Protocol

from taskq.client.address import Address, Target
from taskq.client.call import Call
from taskq.client.connection import Connection
from taskq.client.credential import Credential
from taskq.client.deadlines import Deadlines
from taskq.client.dial import Dialer
from taskq.client.leader_search import LeaderSearch
from taskq.client.outbox import Outbox
from taskq.client.tls import ClientTls, TlsRefused
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


class Listener(Protocol):
    """Who hears what a node sends by itself."""

    def pushed(self, command: Any) -> None: ...


class Link:
    """Carries calls to the cluster; belongs to one event loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        target: Target,
        key: Credential,
        client: str,
        tls: ClientTls | None,
        listeners: Collection[Listener],
        *,
        stays: bool = False,
    ) -> None:
        self.loop = loop
        self.closed = False
        self._listeners = listeners
        self._outbox = Outbox()
        self._connection: Connection | None = None
        self._draining: set[Connection] = set()
        self._dialer = Dialer(
            target,
            lambda: Connection(loop, self._outbox, self, client, key.now()),
            tls,
            stays=stays,
        )
        self._dialing: asyncio.Task[None] | None = None
        self._deadlines = Deadlines(loop, self._expired)
        self._search = LeaderSearch(loop, self._dialer, lambda: self._connection, self._adopt)
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
        dialing = [] if self._dialing is None else [self._dialing]
        await asyncio.gather(*dialing, *self._search.tasks, return_exceptions=True)
        await asyncio.sleep(0)  # transports close their sockets in the next round

    def end(self) -> None:
        """`close` without waiting; must run on the link's loop."""
        if self.closed:
            return
        self.closed = True
        error = ConnectionFailed("the client was closed")
        self._search.stop()
        if self._dialing is not None:
            self._dialing.cancel()
        for connection in (self._connection, *self._draining):
            if connection is not None:
                connection.abort(error)
        self._give_up(error)
        self._deadlines.clear()

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

    def refused(self, connection: Connection, call: Call, refusal: Refusal) -> None:
        """A node said no: another attempt, or the end of the call."""
        if connection is self._connection and connection.usable:
            if refusal.code == ErrorCode.NO_LEADER.value:
                connection.ping()  # its answer names the leader
            elif refusal.code == ErrorCode.UNAVAILABLE.value and not refusal.unknown:
                self._leave(connection)
        if not call.wants_another_attempt(refusal):
            call.refuse(refusal)
            return
        pause = call.pause(refusal, elsewhere=connection is not self._connection)
        if self.loop.time() + pause >= call.deadline:
            call.refuse(refusal)
        elif pause:
            self.loop.call_later(pause, self._send_again, call)
        else:
            self._send_again(call)

    def _leave(self, connection: Connection) -> None:
        """The node cannot serve (it stops, its disk fails): asks another one from now on, if any is
        known."""
        if not self._dialer.others(connection):
            return
        self._connection = None
        self._avoided = self._dialer.addresses_of(connection)
        self._draining.add(connection)
        connection.drain()

    def pushed(self, command: Any) -> None:
        """A node sent something by itself."""
        for listener in tuple(self._listeners):
            # In a round of its own: what a listener raises must not end the connection.
            self.loop.call_soon(listener.pushed, command)

    def leader_seen(self, connection: Connection, leader: str) -> None:
        """A ping's answer names the leader."""
        self._search.seen(connection, leader)

    def announced(self, connection: Connection, hello: HelloReply) -> None:
        """The node says by itself that another one leads."""
        self._search.announced(connection, hello)

    def suspected(self, connection: Connection) -> None:
        """Not a byte from a node that owes answers."""
        self._search.suspected(connection)

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
            except TlsRefused as error:
                self._give_up(ConnectionFailed(str(error)))
                return
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
