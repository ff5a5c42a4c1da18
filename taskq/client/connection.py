"""One connection to one node: pipelined requests, coalesced writes, flow control, pings.

    connecting --HelloReply--> open --drain()--> draining --last answer--> closed
         \\______________________ lost (error, silence, end) ______________/

Takes calls from the outbox it is given, for as long as the socket takes bytes and the node takes
requests. Knows nothing of other connections or repeats: `Link` gets back what was not answered.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Protocol, cast

from taskq.client.address import Address
from taskq.client.call import Call
from taskq.client.outbox import Outbox
from taskq.client.tls import TLS_ALERT, UNHEARD, WANTS_TLS, TlsRefused, failure
from taskq.commands import Ping
from taskq.errors import (
    ConnectionFailed,
    ErrorCode,
    InvalidRequest,
    ProtocolError,
    Refusal,
    TaskqError,
    as_exception,
)
from taskq.limits import DURATION_MS_MAX, KIB
from taskq.protocol.codec import NO_REQUEST, Push, Reply
from taskq.protocol.connection import ClientConnection
from taskq.results import HelloReply, PingReply

# Frames joined into one write; above the high-water mark nothing more is encoded, so that a slow
# node makes calls wait as small objects and not as copies of their payloads.
WRITE_SIZE = 128 * KIB
HIGH_WATER_SIZE = 256 * KIB
# Our own bound beside the node's `requests_in_flight_max`.
IN_FLIGHT_MAX = 10_000
# Ticks in one idle time-out: a ping at least every 4th, an unanswered question is probed after 2,
# and after 4 without a single byte the node is taken for dead. The idle time-out itself would be
# as long as the default deadline, and no time would be left to ask another node.
TICKS = 12
# A request to be answered at once, and for so long not a byte: a ping; still none: the others are
# asked whether another node leads meanwhile, for a leader whose machine hangs closes no connection.
PROBE_SECONDS = 0.3
SUSPECT_SECONDS = 0.6
# Between two looks, as long as there was such a request lately.
LOOK_SECONDS = 0.15
LIVELY_SECONDS = 1.0


class Owner(Protocol):
    """What a connection tells, and whom."""

    def lost(self, connection: Connection, calls: list[Call], error: TaskqError) -> None: ...
    def refused(self, connection: Connection, call: Call, refusal: Refusal) -> None: ...
    def pushed(self, command: Any) -> None: ...
    def leader_seen(self, connection: Connection, leader: str) -> None: ...
    def announced(self, connection: Connection, hello: HelloReply) -> None: ...
    def suspected(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """The client's shell around `ClientConnection`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        outbox: Outbox,
        owner: Owner,
        client: str,
        key: str | None,
    ) -> None:
        self.opened: asyncio.Future[HelloReply] = loop.create_future()
        self.hello: HelloReply | None = None
        self.address: Address | None = None  # set by who dials
        self.productive = False  # has answered a call
        self._loop = loop
        self._outbox = outbox
        self._owner = owner
        self._client = client
        self._key = key
        self._wire = ClientConnection()
        self._transport: asyncio.Transport | None = None
        self._in_flight: dict[int, Call | None] = {}  # None: a request of our own
        self._in_flight_max = 1
        self._parked = 0
        self._paused = False
        self._draining = False
        self._ended = False
        self._pump_handle: asyncio.Handle | None = None
        self._tick_handle: asyncio.TimerHandle | None = None
        self._received = self._awaiting_since = self._urgent_since = self._pinged = 0.0
        self._tick_at = 0.0
        self._buffered = 0

    # --- for the owner -----------------------------------------------------------------------

    @property
    def usable(self) -> bool:
        return self.hello is not None and not self._draining and not self._ended

    def wake(self) -> None:
        """There is something in the outbox. What comes within one round is written at once."""
        if self._pump_handle is None and self.usable:
            self._pump_handle = self._loop.call_soon(self._pump)

    def drain(self) -> None:
        """Sends no more; closes when all is answered."""
        self._draining = True
        self._end_if_drained()

    def ping(self) -> None:
        """Asks for a sign of life and the leader, unless that question is under way."""
        if not self._ended and None not in self._in_flight.values() and self._transport:
            self._pinged = self._loop.time()
            request_id, frame = self._wire.request(Ping())
            self._enter(request_id, None)
            self._transport.write(frame)

    def abort(self, error: TaskqError) -> None:
        """Closes at once; unanswered calls go back to the owner."""
        if self._ended:
            return
        self._ended = True
        for handle in (self._pump_handle, self._tick_handle):
            if handle is not None:
                handle.cancel()
        if self._transport is not None:
            self._transport.abort()
        calls = [call for call in self._in_flight.values() if call is not None]
        self._in_flight.clear()
        if not self.opened.done():
            self.opened.set_exception(error)
            self.opened.exception()  # nobody may be waiting for it any more
        self._owner.lost(self, [call for call in calls if not call.future.done()], error)

    # --- from the loop -----------------------------------------------------------------------

    def connection_made(self, base: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's: told to the type checker only.
        transport = self._transport = cast("asyncio.Transport", base)
        if self._ended:
            transport.abort()
            return
        transport.set_write_buffer_limits(high=HIGH_WATER_SIZE)
        self._received = self._awaiting_since = self._loop.time()
        transport.write(self._wire.greet(self._client, self._key))

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(exc, OSError) and self.hello is None and self.address is not None:
            self.abort(failure(exc, self.address.host))  # with TLS 1.3 a node refuses us that late
            return
        closed = f"closed by the node{self._unheard()}"
        self.abort(ConnectionFailed(f"connection lost: {exc or closed}"))

    def _unheard(self) -> str:
        """What a TLS connection that was closed before a word may mean: most nodes close it without
        an alert where they want a certificate, and we learn of it only then (TLS 1.3)."""
        transport = self._transport
        if self.hello is not None or not (transport and transport.get_extra_info("ssl_object")):
            return ""
        return UNHEARD

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self.wake()

    def data_received(self, data: bytes) -> None:
        self._received = self._loop.time()
        if self.hello is None and data.startswith(TLS_ALERT):
            self.abort(TlsRefused(WANTS_TLS))
            return
        try:
            for event in self._wire.receive(data):
                if self._ended:
                    return
                if type(event) is Push:
                    self._owner.pushed(event.command)
                else:
                    assert isinstance(event, Reply)
                    self._answered(event)
        except ProtocolError as error:
            self.abort(error)
            return
        if self._outbox:
            self.wake()
        if self._draining:
            self._end_if_drained()

    # --- answers -----------------------------------------------------------------------------

    def _answered(self, reply: Reply) -> None:
        request_id, value = reply
        shape = type(value)
        if self.hello is None:
            self._greeted(value)
            return
        if request_id == NO_REQUEST:
            self._told(value)
            return
        try:
            call = self._in_flight.pop(request_id)
        except KeyError:
            raise ProtocolError(f"an answer to request {request_id}, which is not open") from None
        if call is None:
            if shape is PingReply:
                self._owner.leader_seen(self, value.leader)
            return
        self._parked -= call.parks
        if shape is not Refusal and shape is not call.row.reply:
            self._in_flight[request_id] = call  # so that it goes back to the owner
            raise ProtocolError(f"{call.row.name} was answered with {shape.__name__}")
        call.connection = None
        self.productive = True
        if call.future.done():
            if call.late is not None and shape is not Refusal:
                self._loop.call_soon(call.late, value)
        elif shape is Refusal:
            self._owner.refused(self, call, value)
        else:
            call.succeed(value)

    def _told(self, value: Any) -> None:
        """What the node says by itself: good-bye, or who leads now."""
        if isinstance(value, Refusal):
            self.abort(as_exception(value))
        elif isinstance(value, HelloReply):
            self.hello = value
            self._owner.announced(self, value)
        else:
            raise ProtocolError("an answer to no request")

    def _greeted(self, value: Any) -> None:
        if isinstance(value, Refusal):
            self.abort(as_exception(value))
            return
        if not isinstance(value, HelloReply):
            raise ProtocolError("the first answer must be that to Hello")
        self.hello = value
        # One place is for the ping: a node without a leader holds all others, and is not dead.
        self._in_flight_max = max(2, min(IN_FLIGHT_MAX, value.requests_in_flight_max - 1))
        self._pinged = self._loop.time()
        self._tick_seconds = max(value.idle_timeout_ms, 1_000) / 1000 / TICKS
        self._tick_in(self._tick_seconds)
        if not self.opened.done():
            self.opened.set_result(value)

    # --- sending -----------------------------------------------------------------------------

    def _pump(self) -> None:
        self._pump_handle = None
        for calls in (self._outbox.calls, self._outbox.parking):
            while calls and not self._paused and not self._ended:
                chunks = self._encode(calls)
                if not chunks:
                    break
                assert self._transport is not None
                self._transport.write(b"".join(chunks) if len(chunks) > 1 else chunks[0])

    def _encode(self, calls: deque[Call]) -> list[bytes]:
        """Frames of the next calls, as many as one write and the node take."""
        chunks: list[bytes] = []
        size = 0
        now = self._loop.time()
        in_flight = self._in_flight
        while calls and size < WRITE_SIZE and len(in_flight) < self._in_flight_max:
            if calls[0].parks and self._parked >= self._in_flight_max // 2:
                break
            call = calls.popleft()
            if call.future.done():
                continue
            wait_ms = max(1, min(int((call.deadline - now) * 1000), DURATION_MS_MAX))
            try:
                request_id, frame = self._wire.request(call.next_attempt(now), wait_ms)
            except (ProtocolError, TypeError, ValueError, OverflowError) as error:
                call.fail(_cannot_be_sent(call, error))
                continue
            self._enter(request_id, call)
            call.connection = self
            chunks.append(frame)
            size += len(frame)
        return chunks

    def _enter(self, request_id: int, call: Call | None) -> None:
        parks = call is not None and call.parks
        if not self._in_flight:
            self._awaiting_since = self._loop.time()
        if not parks and len(self._in_flight) == self._parked and self.hello is not None:
            self._urgent_since = now = self._loop.time()
            if self._tick_at - now > LOOK_SECONDS:
                self._tick_in(LOOK_SECONDS)
        self._parked += parks
        self._in_flight[request_id] = call

    # --- life --------------------------------------------------------------------------------

    def _tick(self) -> None:
        assert self._transport is not None
        now = self._loop.time()
        buffered = self._transport.get_write_buffer_size()
        if buffered < self._buffered:  # the node still reads a large frame
            self._received = now
        self._buffered = buffered
        quiet = now - max(self._received, self._awaiting_since) if self._in_flight else 0.0
        if quiet >= 4 * self._tick_seconds:
            self.abort(ConnectionFailed(f"the node was silent for {quiet:.1f} s"))
            return
        urgent = len(self._in_flight) > self._parked
        unanswered = now - max(self._received, self._urgent_since) if urgent else 0.0
        idle = now - self._pinged >= 3 * self._tick_seconds
        if unanswered >= PROBE_SECONDS or quiet >= 2 * self._tick_seconds or idle:
            self.ping()
        if unanswered >= SUSPECT_SECONDS:
            self._owner.suspected(self)
        lively = urgent or now - self._urgent_since < LIVELY_SECONDS
        self._tick_in(min(LOOK_SECONDS, self._tick_seconds) if lively else self._tick_seconds)

    def _tick_in(self, seconds: float) -> None:
        if self._tick_handle is not None:
            self._tick_handle.cancel()
        self._tick_at = self._loop.time() + seconds
        self._tick_handle = self._loop.call_later(seconds, self._tick)

    def _end_if_drained(self) -> None:
        if not any(
            call is not None and not call.future.done() for call in self._in_flight.values()
        ):
            self.abort(ConnectionFailed("closed"))


def _cannot_be_sent(call: Call, error: Exception) -> InvalidRequest:
    """What the caller hears of fields that no frame can hold."""
    code = ErrorCode.INVALID_REQUEST
    if isinstance(error, ProtocolError):
        code = ErrorCode.PAYLOAD_TOO_LARGE
    return InvalidRequest(code.value, f"{call.row.name}: {error}")
