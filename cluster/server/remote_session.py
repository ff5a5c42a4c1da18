"""Another node that passes on requests of its clients: stands where a client's session stands.

Keys were checked there; what they are limited to comes with the requests. One such session is many
clients, so that no count of requests limits it: the other node keeps a window of bytes for what it
sends (`forward_stream`), answers stop at `ANSWER_WINDOW_SIZE` bytes that it has not confirmed, and
requests that wait for a task or a result take half of its room at most, so that they never stand in
the way of the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from cluster.server.backlog import Backlog
from cluster.server.forward_letters import (
    LETTER_SIZE,
    SCOPE,
    Requests,
    pack_answers,
    read_scope,
)
from cluster.server.intake import answer_deferred, take, take_backlog
from cluster.server.quota import REQUEST_COST
from cluster.server.requester import Handler, Tag
from cluster.server.scope import Scope
from taskq.errors import ErrorCode, ProtocolError, refuse
from taskq.limits import MIB
from taskq.protocol.codec import (
    Rejected,
    Request,
    decode_request,
    encode_reply,
    join_reply,
    make_pack,
)
from taskq.protocol.frame import Frame

if TYPE_CHECKING:
    from cluster.server.sessions import Sessions
    from cluster.server.wait_clock import Waiter

ANSWER_WINDOW_SIZE = 16 * MIB
# How soon answers that the connection did not take are tried again. Seconds.
RETRY_SECS = 0.01
RETRY_AFTER_MS = 200

_pack = make_pack()


def _decode(frames: list[Frame]) -> list[Request | Rejected]:
    """The requests in a message, each with what the key that it came with is limited to."""
    requests: list[Request | Rejected] = []
    scope = None
    for kind, payload in frames:
        if kind == SCOPE:
            scope = Scope(read_scope(payload)) if payload else None
            continue
        request = decode_request(kind, payload)
        if scope is not None and isinstance(request, Request):
            request = request._replace(scope=scope)
        requests.append(request)
    return requests


class ParkedById:
    """Waiting requests of one node by their number there."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: dict[int, Waiter] = {}

    def add(self, waiter: Waiter) -> None:
        self._waiters[waiter.tag[1].request_id] = waiter

    def discard(self, waiter: Waiter) -> None:
        self._waiters.pop(waiter.tag[1].request_id, None)

    def get(self, number: int) -> Waiter | None:
        return self._waiters.get(number)

    def __iter__(self) -> Iterator[Waiter]:
        return iter(self._waiters.values())

    def __len__(self) -> int:
        return len(self._waiters)


class RemoteSession:
    """See the module. `post(message)` sends to the other node; false where it was not sent."""

    __slots__ = (
        *("backlog", "closed", "closing_at", "count_max", "deferred", "forwarded", "handlers"),
        *("held", "in_flight", "parked", "peer_id", "reckoned", "reserved", "sessions"),
        *("size_max", "starved", "stream", "stuck_at", "unread", "workers"),
        *("_consumed", "_dirty", "_dropped", "_open", "_out", "_post"),
    )
    remote: ClassVar[bool] = True

    def __init__(
        self,
        sessions: Sessions,
        peer_id: str,
        stream: int,
        handlers: dict[int, Handler],
        post: Callable[[bytes], bool],
    ) -> None:
        self.sessions = sessions
        self.peer_id = peer_id
        self.stream = stream
        self.handlers = handlers
        self._post = post
        self._open: set[int] = set()  # numbers that are not answered
        self._dropped: set[int] = set()  # of those: nobody waits for the answer any more
        self._out: deque[bytes] = deque()
        self._consumed = 0
        self._dirty = False
        self.backlog = Backlog()
        self.deferred: deque[Tag] = deque()
        self.parked = ParkedById()
        self.forwarded: set[Any] = set()
        self.workers: dict[bytes, None] = {}
        self.count_max = 1 << 62
        self.size_max = sessions.quota.node_size_max
        self.in_flight = self.held = self.reserved = self.unread = self.reckoned = 0
        self.starved = self.closed = False
        self.stuck_at = self.closing_at = 0.0

    # --- what the other node says -----------------------------------------------------------------

    def receive(self, letter: Requests) -> None:
        """Requests, confirmed answers, and requests that nobody waits for any more."""
        consumed = letter.consumed - self._consumed
        if consumed > 0:
            self._consumed = letter.consumed
            self.unread -= consumed
            self.held -= consumed
            if self.deferred:
                self.soil()
        for number in letter.dropped:
            if number in self._open:
                self._drop(number)
        requests = _decode(letter.frames)
        if requests:
            self._open.update([request.request_id for request in requests])
            arrival = self.sessions.loop.time()
            if self.sessions.stopping:
                self._turn_away(requests, arrival)
            elif self.backlog:
                self.backlog.append(requests, arrival)
            else:
                take(self, requests, arrival)
        self.reckon()
        if self.sessions.must_wait(self):
            self.sessions.starve(self)

    def _turn_away(self, requests: list[Request | Rejected], arrival: float) -> None:
        """This node stops: not carried out here, and to be sent to the next leader."""
        refusal = refuse(ErrorCode.UNAVAILABLE, "the node is stopping", RETRY_AFTER_MS)
        for request in requests:
            if isinstance(request, Rejected):
                self.reject(request)
            else:
                self.in_flight += 1
                self.held += request.size + REQUEST_COST
                self.deliver((arrival, request), refusal)

    def _drop(self, number: int) -> None:
        self._dropped.add(number)
        waiter = self.parked.get(number)
        if waiter is not None:
            self.sessions.drop_parked(waiter)
        for one in [one for one in self.forwarded if one.tag[1].request_id == number]:
            self.sessions.forwarding.drop_one(one)

    def wants(self, tag: Tag) -> bool:
        """Whether its client is still there."""
        return not self.closed and tag[1].request_id not in self._dropped

    # --- answers ----------------------------------------------------------------------------------

    def deliver(self, tag: Tag, value: Any) -> None:
        """What became of a request, refusals for want of leadership included: the other node knows
        what to do with them."""
        request = tag[1]
        frame = None
        if self.wants(tag):
            frame = self._packed(request.message.code, request.request_id, value)
        self._end_request(request, frame)

    answer = deliver

    def pass_on(self, tag: Tag, kind: int, body: bytes) -> None:
        """For the protocol of requesters: what came from another node is not passed on again."""
        self._end_request(tag[1], join_reply(kind, tag[1].request_id, body))

    def reject(self, rejected: Rejected) -> None:
        """Answers what this version of the node does not know."""
        self._open.discard(rejected.request_id)
        self._send(self._packed(0, rejected.request_id, rejected.refusal))

    def _end_request(self, request: Request, frame: bytes | None) -> None:
        self.in_flight -= 1
        self.held -= request.size + REQUEST_COST
        self._open.discard(request.request_id)
        self._dropped.discard(request.request_id)
        if frame is not None and not self.closed:
            self._send(frame)
            return
        self.reckon()
        if self.backlog:
            self.soil()

    @staticmethod
    def _packed(code: int, number: int, value: Any) -> bytes:
        try:
            return encode_reply(_pack, code, number, value)
        except ProtocolError as error:
            refusal = refuse(ErrorCode.RESULT_TOO_LARGE, str(error))
            return encode_reply(_pack, code, number, refusal)

    def _send(self, frame: bytes) -> None:
        self._out.append(frame)
        self.unread += len(frame)
        self.held += len(frame)
        self.soil()

    def push(self, command: Any) -> None:
        """Each node pushes to its own workers, from what it applies itself."""

    def soil(self) -> None:
        """Something is to be done in the next round of the loop."""
        if not self._dirty and not self.closed:
            self._dirty = True
            self.sessions.soil(self)

    def flush(self, now: float) -> None:
        """Once per round: sends the answers, goes on with what waited."""
        self._dirty = False
        if self.closed:
            return
        while self._out:
            frames = self._next_frames()
            if not self._post(pack_answers(self.stream, frames)):
                self._out.extendleft(reversed(frames))
                self.sessions.loop.call_later(RETRY_SECS, self.soil)
                break
        if self.deferred:
            answer_deferred(self)
        if self.backlog:
            take_backlog(self, now)
        self.reckon()

    def _next_frames(self) -> list[bytes]:
        out = self._out
        frames = [out.popleft()]
        size = len(frames[0])
        while out and (size := size + len(out[0])) <= LETTER_SIZE:
            frames.append(out.popleft())
        return frames

    def defer(self, tag: Tag) -> None:
        """A read that waits until the other node has handed answers on, or this one holds less."""
        self.deferred.append(tag)
        if not self.is_full():
            self.sessions.starve(self)

    # --- limits -----------------------------------------------------------------------------------

    def is_full(self) -> bool:
        """Whether so many answers are on their way that nothing large should be added."""
        return self.unread >= ANSWER_WINDOW_SIZE

    def must_wait(self) -> bool:
        """Whether nothing large should be read for it now."""
        self.reckon()
        return self.is_full() or self.sessions.must_wait(self)

    def reserve(self, size: int) -> None:
        """Expects an answer of `size` bytes (negative: no more)."""
        self.reserved += size
        self.held += size
        self.sessions.reserved += size

    def measure(self) -> bool:
        """What is unread is told, not looked at."""
        return False

    def steer(self) -> None:
        """The connection belongs to Raft, too: it is always read."""

    def starve(self, starved: bool) -> None:
        """The node as a whole holds too much, or no more."""
        self.starved = starved
        if not starved and (self.backlog or self.deferred):
            self.soil()

    def reckon(self) -> None:
        """Brings the account of all sessions up to date with this one."""
        before, self.reckoned = self.reckoned, self.weight()
        self.sessions.size += self.reckoned - before

    def weight(self) -> int:
        """Bytes that are held for it now."""
        return self.held - self.reserved + self.backlog.size

    # --- the end ----------------------------------------------------------------------------------

    def close(self) -> None:
        """The stream is over: nothing of it is proposed any more, and nobody reads the answers."""
        self.closed = True
        self._out.clear()
        self.backlog.clear()
        self.held -= self.unread
        self.unread = 0
        while self.deferred:
            self.answer(self.deferred.popleft(), None)
        self.sessions.leave(self)
        self.reckon()

    def abort(self, reason: str) -> None:
        """Gives the stream up."""
        self.sessions.counters.drop(reason)
        self.sessions.remotes.reset(self)
