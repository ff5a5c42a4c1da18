"""One connection of a client or worker: bytes in, requests to the dispatcher, answers out.

    NEW --Hello--> OPEN --> CLOSED        no valid key, no place: NEW --Hello--> told, CLOSED

The hot path makes no task, future, timer or closure for a request; the tag of a request is the
pair (arrival in loop time, request). Answers are collected and written once per round of the loop.

What one connection may hold is bounded by `Quota`: `held` counts requests in flight (with what
their answers are expected to take, `reserved`) and answers that the peer has not read (`unread`).
Over it the session stops starting requests, keeps those of the chunk in hand in a backlog, and
stops reading from the socket.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from cluster.server import audit
from cluster.server.access import Grant
from cluster.server.backlog import Backlog
from cluster.server.intake import answer_deferred, take, take_backlog
from cluster.server.quota import PROGRESS_SIZE, REQUEST_COST
from cluster.server.requester import Handler, Tag
from cluster.server.scope import limit
from cluster.server.strangers import address_of
from cluster.server.tls_port import read_more
from taskq.commands import Hello
from taskq.errors import ErrorCode, ProtocolError, Refusal, refuse
from taskq.protocol.codec import Rejected, Request, join_reply
from taskq.protocol.connection import ServerConnection
from taskq.registry import MESSAGE_OF

if TYPE_CHECKING:
    from cluster.server.sessions import Sessions

HELLO = MESSAGE_OF[Hello].code
NOTHING = Grant(frozenset())
NO_LEADER = ErrorCode.NO_LEADER.value


class Session(asyncio.Protocol):
    """See the module. Public attributes are read and, where said, written by the server alone."""

    __slots__ = (
        *("backlog", "closed", "closing_at", "count_max", "deferred", "forwarded", "frame_at"),
        *("grant", "handlers", "held", "in_flight", "open", "opened_at", "parked", "peer"),
        *("reckoned", "reserved", "sessions", "size_max", "starved", "stuck_at"),
        *("unread", "workers"),
        *("_arrivals", "_connection", "_dirty", "_noted", "_out", "_paused", "_progress"),
        "_transport",
    )

    remote: ClassVar[bool] = False

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions
        self._connection = ServerConnection()
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._dirty = False
        self._paused = False
        self.backlog = Backlog()
        self._progress = 0
        self._noted: Mapping[str, Any] | None = None  # the last line of the audit log
        self._arrivals: list[tuple[float, int]] = []
        self.handlers: dict[int, Handler] = {HELLO: sessions.greet}
        self.deferred: deque[Tag] = deque()  # reads that wait until the peer has read
        self.parked: set[Any] = set()  # what `Waiting` keeps for this session
        self.forwarded: set[Any] = set()  # what `Forwarding` keeps for this session
        self.workers: dict[bytes, None] = {}  # workers whose pushes go here
        self.count_max = sessions.quota.request_count_max
        self.size_max = sessions.quota.connection_size_max
        self.in_flight = 0
        self.held = 0
        self.reserved = 0  # the part of `held` that is expected, not there
        self.unread = 0
        self.reckoned = 0  # what the account of all sessions has of this one
        self.open = False
        self.closed = False
        self.grant = NOTHING
        self.peer = ""  # its address, for logs
        self.starved = False  # the node as a whole holds too much
        self.stuck_at = 0.0  # since when the peer does not read; 0: it reads
        self.closing_at = 0.0  # since when it is being closed; 0: it is not
        self.opened_at = self.frame_at = sessions.loop.time()

    # --- called by the transport ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Takes its place among the sessions, or is refused one."""
        # uvloop's transports are no subclasses of asyncio's.
        transport = self._transport = cast("asyncio.Transport", transport)
        high = self.sessions.quota.write_high
        transport.set_write_buffer_limits(high=high, low=high // 4)
        self.peer = address_of(transport.get_extra_info("peername"))
        self.sessions.enter(self)

    def data_received(self, data: bytes) -> None:
        """Starts the requests that `data` completes."""
        if self.closed or self.closing_at:
            return
        sessions = self.sessions
        sessions.counters.bytes_in += len(data)
        arrival = sessions.loop.time()
        try:
            requests = self._connection.receive(data)
        except ProtocolError as error:
            self.leave(sessions.no_frames(self, data, error))
            return
        if requests:
            self.frame_at = arrival
            self._progress = 0
            if self.backlog:
                self.backlog.append(requests, arrival)
            else:
                take(self, requests, arrival)
        else:
            self._progress += len(data)
            if self._progress >= PROGRESS_SIZE:
                self.frame_at = arrival
                self._progress = 0
        self.reckon()
        if sessions.must_wait(self):
            sessions.starve(self)

    def pause_writing(self) -> None:
        """The peer does not read its answers: no more is read from it."""
        if not self.stuck_at:
            self.stuck_at = self.sessions.loop.time()
        self.steer()

    def resume_writing(self) -> None:
        """The peer has read most of its answers."""
        self.stuck_at = 0.0
        self.measure()
        self.reckon()
        if self.backlog or self.deferred:
            self.soil()
        self.steer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Drops everything that nobody will read; what is in the log goes on without a reader."""
        self.closed = True
        self._out.clear()
        self.backlog.clear()
        self.held -= self.unread
        self.unread = 0
        self._transport = None
        while self.deferred:
            self.answer(self.deferred.popleft(), None)
        self.sessions.leave(self)
        self.reckon()

    def eof_received(self) -> bool:
        """A peer that sends no more gets no more either: half-open connections are closed."""
        return False

    # --- answers ----------------------------------------------------------------------------------

    def wants(self, tag: Tag) -> bool:
        """Whether anybody would read the answer."""
        return not self.closed

    def deliver(self, tag: Tag, value: Any) -> None:
        """What became of a request. One that was not carried out for want of leadership goes on to
        the leader."""
        if type(value) is Refusal and value.code == NO_LEADER and not value.unknown:
            self.sessions.elsewhere(self, tag)
        else:
            self.answer(tag, value)

    def answer(self, tag: Tag, value: Any) -> None:
        """Answers a request; called once for each."""
        arrival, request = tag
        code = request.message.code
        if not self._end_request(request, value):
            return
        frame = self._connection.reply(code, request.request_id, value)
        if type(value) is Refusal:
            self.sessions.counters.refuse(code, value.code)
        else:
            self.sessions.counters.answered[code] += 1
        self._note_arrival(arrival)
        self._send(frame)

    def pass_on(self, tag: Tag, kind: int, body: bytes) -> None:
        """Answers with what another node packed (`split_reply`)."""
        arrival, request = tag
        try:
            frame = join_reply(kind, request.request_id, body)
        except ProtocolError as error:  # the id of this client is the longer one
            self.answer(tag, refuse(ErrorCode.RESULT_TOO_LARGE, str(error)))
            return
        if not self._end_request(request, body):
            return
        self.sessions.counters.answered[request.message.code] += 1
        self._note_arrival(arrival)
        self._send(frame)

    def _end_request(self, request: Request, value: Any) -> bool:
        """Whether anybody would read the answer to a request that has ended."""
        self.in_flight -= 1
        self.held -= request.size + REQUEST_COST
        if request.message.code in audit.CODES:
            self._noted = audit.note(self.grant, self.peer, request, value, self._noted)
        if self.closed:
            self.reckon()
        return not self.closed

    def _note_arrival(self, arrival: float) -> None:
        # Requests that arrived together mostly follow each other: one observation for all.
        arrivals = self._arrivals
        if arrivals and arrivals[-1][0] == arrival:
            arrivals[-1] = (arrival, arrivals[-1][1] + 1)
        else:
            arrivals.append((arrival, 1))

    def reject(self, rejected: Rejected) -> None:
        """Answers what is no legal request."""
        self.sessions.counters.refuse(0, rejected.refusal.code)
        self._send(self._connection.reply(0, rejected.request_id, rejected.refusal))

    def push(self, command: Any) -> None:
        """Sends a message that nobody asked for, unless the peer does not read."""
        if self.open and not self.closed and not self.stuck_at:
            self.sessions.counters.pushed += 1
            self._send(self._connection.push(command))

    def announce(self, frame: bytes) -> None:
        """Sends a frame that was packed for all sessions, unless the peer does not read."""
        if self.open and not self.closed and not self.stuck_at:
            self._send(frame)

    def accept(self, tag: Tag, reply: Any, grant: Grant, handlers: dict[int, Handler]) -> None:
        """Opens the session with the messages that its credential allows. What a limited key asks
        carries its scope, wherever it goes."""
        request = tag[1]
        self.in_flight -= 1
        self.held -= request.size + REQUEST_COST
        self.open = True
        self.grant = grant
        if self._transport is not None:
            read_more(self._transport)
        if grant.scope is not None:
            handlers = {code: limit(handler, grant.scope) for code, handler in handlers.items()}
        self.handlers = handlers
        self.sessions.counters.answered[HELLO] += 1
        self._send(self._connection.accept(request.request_id, reply))

    def turn_away(self, tag: Tag, refusal: Refusal) -> None:
        """Answers Hello with a refusal and closes."""
        self.answer(tag, refusal)
        self.close()

    def _send(self, frame: bytes) -> None:
        self._out.append(frame)
        self.unread += len(frame)
        self.held += len(frame)
        self.soil()

    def soil(self) -> None:
        """Something is to be done for this session in the next round of the loop."""
        if not self._dirty and not self.closed:
            self._dirty = True
            self.sessions.soil(self)

    def flush(self, now: float) -> None:
        """Once per round: writes the collected answers, goes on with what waited."""
        self._dirty = False
        transport = self._transport
        if transport is None:
            return
        if self._out:
            data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
            self._out.clear()
            transport.write(data)
            counters = self.sessions.counters
            counters.bytes_out += len(data)
            for arrival, count in self._arrivals:
                counters.observe(now - arrival, count)
            self._arrivals.clear()
            self.measure()
        if self.deferred:
            answer_deferred(self)
        if self.backlog:
            take_backlog(self, now)
        self.reckon()

    def defer(self, tag: Tag) -> None:
        """A read that must wait: until the peer has read, or the node holds less."""
        self.deferred.append(tag)
        if not self.is_full():
            self.sessions.starve(self)

    # --- limits -----------------------------------------------------------------------------------

    def is_full(self) -> bool:
        """Whether the peer has so much unread that nothing large should be added."""
        return self.unread >= self.sessions.quota.connection_size_max or self.stuck_at > 0

    def must_wait(self) -> bool:
        """Whether nothing large should be read for this session now."""
        self.reckon()
        return self.is_full() or self.sessions.must_wait(self)

    def reserve(self, size: int) -> None:
        """Expects an answer of `size` bytes (negative: no more)."""
        self.reserved += size
        self.held += size
        self.sessions.reserved += size

    def measure(self) -> bool:
        """Asks the transport what is unread; whether that is less than was known."""
        transport = self._transport
        if transport is None or self._out:
            return False
        unread = transport.get_write_buffer_size()
        shrunk = unread < self.unread
        self.held += unread - self.unread
        self.unread = unread
        return shrunk

    def reckon(self) -> None:
        """Brings the account of all sessions up to date with this one."""
        before, self.reckoned = self.reckoned, self.weight()
        self.sessions.size += self.reckoned - before

    def weight(self) -> int:
        """Bytes that this session holds now."""
        pending = 0 if self.closed else self._connection.pending
        return self.held - self.reserved + pending + self.backlog.size

    def review(self) -> None:
        """For the sweep: what is unread may have become less without a word."""
        self.measure()
        self.reckon()
        if self.backlog or self.deferred:
            self.soil()

    def reads(self) -> bool:
        """Whether the node reads from this connection."""
        return not self._paused

    def descriptor(self) -> int:
        """Of its socket; -1 for none."""
        peer = self._transport and self._transport.get_extra_info("socket")
        return peer.fileno() if peer else -1

    def starve(self, starved: bool) -> None:
        """The node as a whole holds too much (or no more): stops or goes on reading."""
        self.starved = starved
        if not starved and (self.backlog or self.deferred):
            self.soil()
        self.steer()

    def steer(self) -> None:
        """Stops or goes on reading from the connection."""
        pause = bool(self.backlog) or self.stuck_at > 0 or self.starved
        transport = self._transport
        if pause == self._paused or transport is None or transport.is_closing():
            return
        self._paused = pause
        if pause:
            transport.pause_reading()
        else:
            # The peer could not be heard meanwhile: its silence starts now.
            self.frame_at = self.sessions.loop.time()
            transport.resume_reading()

    # --- the end ----------------------------------------------------------------------------------

    def leave(self, refusal: Refusal) -> None:
        """Tells the peer why, and closes."""
        if not self.closed:
            self._send(self._connection.goodbye(refusal))
            self.close()

    def close(self) -> None:
        """Closes once the answers are written. Requests that arrive meanwhile are dropped."""
        transport = self._transport
        if transport is not None and not transport.is_closing():
            now = self.sessions.loop.time()
            self.backlog.clear()
            self.flush(now)
            self.closing_at = now
            transport.close()

    def abort(self, reason: str) -> None:
        """Closes at once, whatever is unread."""
        if self._transport is not None:
            self.sessions.counters.drop(reason)
            self._transport.abort()
