"""Requests that this node cannot answer itself: passed to the leader, held while there is none.

    elsewhere --end of the round--> under way at the leader --> answered
       ^  |                            |  |
       |  +-- no leader: held, until its deadline at most
       +--------- not carried out -----+  +-- connection lost, or another leads: outcome unknown

A command is never sent again once its outcome is unknown: only the client repeats. A question may
be. Requests keep their place in the quota of their session until they are answered.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from cluster.server.counters import Counters
from cluster.server.forward_letters import Answers, Reset
from cluster.server.forward_stream import Forwarded, Stream
from cluster.server.held_requests import HeldRequests
from cluster.server.replica import Replica
from cluster.server.requester import Handler, Requester, Tag
from taskq.errors import ErrorCode, Refusal, refuse
from taskq.limits import DEADLINE_MS_DEFAULT
from taskq.protocol.codec import REFUSAL_TYPE, decode_refusal, split_reply

# A leader that refused, or to which nothing can be sent, is tried again after so long, doubling.
# Seconds. As soon as another leads, nothing waits for this.
PAUSE_SECS = (0.002, 0.05)
# Held requests that are carried out here in one round, when this node has become the leader.
ROUND_COUNT_MAX = 1_000
# How often a node that held too much looks whether it can take answers again. Seconds.
CONFIRM_SECS = 0.05
# A node that does not lead holds what another node takes it to be the leader for so long: it was
# elected, and its first entry is on its way.
CANDIDATE_SECS = 0.1
# A former leader that can be heard answers what it has within so long after it stepped down.
FAREWELL_SECS = 0.05
# How often overdue answers of the leader are looked for: their clients have given up by then.
REVIEW_SECS = 1.0
RETRY_AFTER_MS = 100

# Refusals after which the same request may be carried out elsewhere.
_NOT_HERE = (ErrorCode.NO_LEADER.value, ErrorCode.UNAVAILABLE.value)


class Forwarding:
    """See the module. `route(session)`: the handlers that carry its requests out on this node.
    `is_over()`: this node holds as much as it may."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        replica: Replica,
        counters: Counters,
        count_max: int,
        route: Callable[[Requester], dict[int, Handler]],
        is_over: Callable[[], bool],
    ) -> None:
        self._loop = loop
        self._replica = replica
        self._counters = counters
        self._route = route
        self._is_over = is_over
        self._held = HeldRequests(loop, count_max)
        self._streams: dict[str, Stream] = {}
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._reviewing: asyncio.TimerHandle | None = None
        self._pause_secs = PAUSE_SECS[0]
        self._paused_until = 0.0
        self._stopped = False
        replica.on_leader(self._leader_changed)
        replica.on_peer_lost(self.lost)

    @property
    def held_count(self) -> int:
        """Requests that wait for a leader."""
        return self._held.clock.count

    @property
    def under_way_count(self) -> int:
        """Requests whose answer another node owes."""
        return sum(len(stream.under_way) for stream in self._streams.values())

    # --- in ---------------------------------------------------------------------------------------

    def take(self, session: Requester, tag: Tag) -> None:
        """A request for the leader, which this node is not, or not yet."""
        if not session.wants(tag):
            session.answer(tag, None)
            return
        if self._stopped:
            session.answer(tag, _stopping())
            return
        arrival, request = tag
        patience_ms = request.deadline_ms
        if not patience_ms:
            patience_ms = DEADLINE_MS_DEFAULT + getattr(request.command, "wait_ms", 0)
        self._enter(session, tag, arrival + patience_ms / 1000)

    def take_remote(self, session: Requester, tag: Tag) -> None:
        """A request from another node, which takes this one to be the leader."""
        leader = self._replica.leader
        if self._stopped or leader not in ("", self._replica.node_id):
            session.answer(tag, self._no_leader())
        elif not session.wants(tag):
            session.answer(tag, None)
        else:
            self._enter(session, tag, self._loop.time() + CANDIDATE_SECS)

    def refused(self, session: Requester, tag: Tag) -> None:
        """This node found that it does not lead, when it was to carry the request out."""
        if self._replica.is_leader():  # about to step down: wait for that, not in circles
            self._pause()
        self.take(session, tag)

    def _enter(self, session: Requester, tag: Tag, deadline: float) -> None:
        if self._held.full:
            text = "as many requests wait for the leader as this node can hold"
            refusal = refuse(ErrorCode.TOO_MANY_REQUESTS, text, RETRY_AFTER_MS)
            session.answer(tag, refusal)
            return
        self._held.add(Forwarded(session, tag, deadline, self._expire))
        self._soon()

    # --- out --------------------------------------------------------------------------------------

    def _soon(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Once per round of the loop: what arrived goes where the leader is."""
        self._scheduled = False
        replica = self._replica
        leader = replica.leader
        now = self._loop.time()
        if now < self._paused_until:
            self._later(self._paused_until - now)
        elif replica.is_leader():
            self._carry_out()
        elif leader and leader != replica.node_id:
            self._send(self._stream_to(leader), now)
        self._held.watch()

    def _carry_out(self) -> None:
        for _ in range(ROUND_COUNT_MAX):
            one = self._held.take_next()
            if one is None:
                return
            handlers = self._route(one.session)
            handlers[one.tag[1].message.code](one.session, one.tag)
            if self._paused_until > self._loop.time():
                break  # it came back
        self._soon()

    def _send(self, stream: Stream, now: float) -> None:
        before = len(stream.under_way)
        queue = self._held.queue
        if not stream.send(queue, now):
            self._pause()
            self._later(self._paused_until - now)
        elif queue and stream.has_room(queue[0]):
            self._soon()
        self._counters.forwarded += len(stream.under_way) - before
        if stream.withholds:
            self._later(CONFIRM_SECS)
        if self._reviewing is None and stream.under_way:
            self._reviewing = self._loop.call_later(REVIEW_SECS, self._review)

    def _stream_to(self, peer_id: str) -> Stream:
        stream = self._streams.get(peer_id)
        if stream is None:

            def post(message: bytes) -> bool:
                return self._replica.send(peer_id, message)

            number = secrets.randbits(63)
            stream = Stream(number, post, self._held.clock, self._is_over)
            self._streams[peer_id] = stream
        return stream

    def _later(self, secs: float) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(secs, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._flush()

    def _pause(self) -> None:
        now = self._loop.time()
        if now >= self._paused_until:
            self._paused_until = now + self._pause_secs
            self._pause_secs = min(2 * self._pause_secs, PAUSE_SECS[1])

    # --- answers ----------------------------------------------------------------------------------

    def receive(self, peer_id: str, letter: Answers | Reset) -> None:
        """Another node answers, or gives up a stream."""
        stream = self._streams.get(peer_id)
        if stream is None or stream.number != letter.stream:
            return
        if isinstance(letter, Reset):
            self._pause()  # whatever it does not understand, it would not understand at once again
            self.lost(peer_id)
            return
        for kind, payload in letter.frames:
            number, body = split_reply(payload)
            one = stream.take(number)
            if one is None:
                continue
            one.session.forwarded.discard(one)
            if kind != REFUSAL_TYPE:
                self._pause_secs = PAUSE_SECS[0]
                one.session.pass_on(one.tag, kind, body)
            else:
                self._refused_by(peer_id, one, decode_refusal(body))
        stream.handed(letter.frames)
        if not stream.confirm() or stream.withholds:
            self._later(CONFIRM_SECS)
        if len(self._held):
            self._soon()  # there may be room in the window now

    def _refused_by(self, peer_id: str, one: Forwarded, refusal: Refusal) -> None:
        if refusal.unknown or refusal.code not in _NOT_HERE:
            one.session.answer(one.tag, refusal)
            return
        if self._replica.leader == peer_id:
            self._pause()
        self._hold_again(one)

    def _hold_again(self, one: Forwarded) -> None:
        if self._stopped:
            one.session.answer(one.tag, _stopping())
        else:
            self._enter(one.session, one.tag, one.deadline)

    # --- what happens meanwhile -------------------------------------------------------------------

    def _leader_changed(self, leader: str) -> None:
        self._paused_until = 0.0
        self._pause_secs = PAUSE_SECS[0]
        for peer_id in self._streams:
            if leader and peer_id != leader:
                self._loop.call_later(FAREWELL_SECS, self._bid_farewell, peer_id)
        if leader not in ("", self._replica.node_id):
            for one in self._held.take_remote():  # other nodes reach that leader themselves
                one.session.answer(one.tag, self._no_leader())
        if len(self._held):
            self._soon()

    def leads(self) -> None:
        """This node can carry requests out from now on."""
        self._leader_changed(self._replica.node_id)

    def _bid_farewell(self, peer_id: str) -> None:
        if self._replica.leader not in ("", peer_id):
            self.lost(peer_id)

    def lost(self, peer_id: str) -> None:
        """A connection with a node was lost, and with it perhaps requests and answers."""
        stream = self._streams.pop(peer_id, None)
        if stream is None:
            return
        for one in stream.under_way.values():
            one.session.forwarded.discard(one)
            if _is_question(one):
                self._hold_again(one)
            else:
                self._counters.forwarded_lost += 1
                one.session.answer(one.tag, _unknown(peer_id))

    def _review(self) -> None:
        """Answers that no client waits for any more, of a node that is there and says nothing."""
        self._reviewing = None
        overdue = self._loop.time() - REVIEW_SECS
        for peer_id, stream in self._streams.items():
            for one in [one for one in stream.under_way.values() if one.deadline < overdue]:
                stream.drop(one)
                one.session.forwarded.discard(one)
                one.session.answer(one.tag, _unknown(peer_id))
            stream.confirm()
            if stream.under_way and self._reviewing is None:
                self._reviewing = self._loop.call_later(REVIEW_SECS, self._review)

    def _expire(self, one: Forwarded) -> None:
        self._held.end(one)
        self._held.prune()
        one.session.answer(one.tag, self._no_leader())

    def drop(self, session: Requester) -> None:
        """The session's connection was lost: its requests need not be carried out any more."""
        for one in list(session.forwarded):
            self.drop_one(one)

    def drop_one(self, one: Forwarded) -> None:
        """Nobody waits for this request any more."""
        if one.stream is None:
            self._held.end(one)
            self._held.prune()
        else:
            one.stream.drop(one)
            one.session.forwarded.discard(one)
            self._soon()
        one.session.answer(one.tag, None)

    def refuse_all(self) -> None:
        """The node stops: nothing waits any more. What another node may be carrying out just now
        ends as unknown where it may take long, and is waited for otherwise."""
        self._stopped = True
        while (held := self._held.take_next()) is not None:
            held.session.answer(held.tag, _stopping())
        for stream in self._streams.values():
            for one in [one for one in stream.under_way.values() if one.waits]:
                stream.drop(one)
                one.session.forwarded.discard(one)
                refusal = _stopping()
                one.session.answer(one.tag, refusal._replace(unknown=not _is_question(one)))
        self._soon()

    def stop(self) -> None:
        """No timer is left behind."""
        self._held.stop()
        for timer in (self._timer, self._reviewing):
            if timer is not None:
                timer.cancel()

    def _no_leader(self) -> Refusal:
        replica = self._replica
        leader = replica.leader
        if not leader or leader == replica.node_id:
            who = "nobody leads"
        else:
            who = f"{leader} leads and cannot be reached from here"
        text = f"{replica.node_id} does not lead the cluster now: {who}"
        return refuse(ErrorCode.NO_LEADER, text, RETRY_AFTER_MS)


def _is_question(one: Forwarded) -> bool:
    """Whether it changes nothing, and may be sent any number of times."""
    return hasattr(one.tag[1].command, "stale")


def _stopping() -> Refusal:
    return refuse(ErrorCode.UNAVAILABLE, "the node is stopping", RETRY_AFTER_MS)


def _unknown(peer_id: str) -> Refusal:
    text = f"passed on to {peer_id}, whose answer was lost"
    return Refusal(ErrorCode.UNAVAILABLE.value, text, 0, True)
