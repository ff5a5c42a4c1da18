"""All sessions of a node: their number and total size, the round that writes, the sweep.

A connection is a newcomer until its Hello is accepted; newcomers are limited by themselves. One
periodic sweep does all time-outs of connections, so that no request needs a timer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from cluster.server.access import Access
from cluster.server.counters import Counters
from cluster.server.departed import departed
from cluster.server.dispatcher import Dispatcher
from cluster.server.quota import Quota
from cluster.server.requester import Requester, Tag
from cluster.server.session import Session
from cluster.server.strangers import WITH_TLS, Strangers
from cluster.server.tls_port import TLS_HANDSHAKE
from taskq.commands import PROTOCOL_VERSION
from taskq.errors import ErrorCode, ProtocolError, Refusal, refuse
from taskq.limits import FRAME_SIZE_MAX
from taskq.protocol.connection import announcement
from taskq.results import HelloReply

if TYPE_CHECKING:
    from cluster.server.remotes import Remotes

log = structlog.get_logger(__name__)

SWEEP_SECS = 1.0
# How long the reason may take to leave when a session is ended at once.
GOODBYE_SECS = 1.0
RETRY_AFTER_MS = 1_000


class Sessions:
    """See the module. `size` is what all sessions hold together, in bytes (`Session.reckon`),
    `reserved` what the answers to claims on their way through the log may take."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        quota: Quota,
        counters: Counters,
        access: Access,
        dispatcher: Dispatcher,
        server_version: str,
    ) -> None:
        self.loop = loop
        self.quota = quota
        self.counters = counters
        self.size = 0
        self.reserved = 0
        self.stopping = False
        self._access = access
        self._dispatcher = dispatcher
        self._server_version = server_version
        self._sessions: dict[Session, None] = {}
        self._newcomers: dict[Session, None] = {}  # those that came first first
        self._dirty: list[Requester] = []
        self._starved: dict[Requester, None] = {}
        self._was_over = False
        self._told_full = False
        self._strangers = Strangers(loop)
        self._tls_strangers = Strangers(loop, WITH_TLS)
        self._sweeping: asyncio.TimerHandle | None = None
        self.answer: Callable[[Requester, Tag], None] = dispatcher.answer
        self.elsewhere: Callable[[Requester, Tag], None] = dispatcher.forwarding.refused
        self.forwarding = dispatcher.forwarding
        self.drop_parked = dispatcher.drop_parked
        self.remotes: Remotes  # enters by itself
        dispatcher.replica.on_leader(self._leader_changed)

    def __len__(self) -> int:
        return len(self._sessions)

    def all(self) -> list[Session]:
        """Every session, newcomers included."""
        return [*self._sessions, *self._newcomers]

    # --- coming and going -------------------------------------------------------------------------

    def enter(self, session: Session) -> None:
        """A connection was made."""
        self.counters.accepted += 1
        if self.stopping:
            session.abort("stopping")
            return
        if len(self._newcomers) >= self.quota.newcomer_count_max:
            self.counters.turned_away += 1
            slowest = next(iter(self._newcomers))
            del self._newcomers[slowest]
            slowest.abort("no hello in a crowd")
        self._newcomers[session] = None

    def leave(self, session: Requester) -> None:
        """A connection was lost."""
        if isinstance(session, Session):
            self._sessions.pop(session, None)
            self._newcomers.pop(session, None)
        self._starved.pop(session, None)
        self._dispatcher.forget(session)

    def revoke(self) -> int:
        """The keys were replaced: whoever is in with one that counts no more, or that carries other
        rights now, is told so and out; how many."""
        ended = [session for session in self._sessions if not self._access.still(session.grant)]
        text = "the API key was revoked, or its rights were changed"
        for session in ended:
            self.counters.keep_out("revoked")
            session.leave(refuse(ErrorCode.UNAUTHENTICATED, text))
            session.closed = True  # nothing is carried out or waits for it from now on
            self.leave(session)
            self.loop.call_later(GOODBYE_SECS, session.abort, "key revoked")
        return len(ended)

    def no_frames(self, session: Session, data: bytes, error: ProtocolError) -> Refusal:
        """What to tell who sent bytes that are no frames. TLS is logged: such a client cannot read
        our answer."""
        self.counters.refuse(0, ErrorCode.INVALID_REQUEST.value)
        text = str(error)
        if not session.open and data.startswith(TLS_HANDSHAKE):
            text = "this port speaks no TLS: use taskq:// instead of taskqs://"
            self._tls_strangers.note(session.peer, f"api.enable_tls is false; {text}")
        return refuse(ErrorCode.INVALID_REQUEST, text)

    def greet(self, session: Requester, tag: Tag) -> None:
        """Answers Hello: opens the session, or says why not and closes."""
        assert isinstance(session, Session), "other nodes say no Hello here"
        hello = tag[1].command
        if PROTOCOL_VERSION not in hello.versions:
            text = f"this node speaks version {PROTOCOL_VERSION}, not {hello.versions}"
            session.turn_away(tag, refuse(ErrorCode.UNSUPPORTED_VERSION, text))
            return
        grant = self._access.admit(hello.key)
        if isinstance(grant, Refusal):
            reason = "missing" if hello.key is None else "unknown"
            self.counters.keep_out(reason)
            self._strangers.note(session.peer, grant.message)
            self.loop.call_later(self.quota.refusal_secs, session.turn_away, tag, grant)
            return
        if len(self._sessions) >= self.quota.connection_count_max:
            self._refuse_one_more(session, tag)
            return
        self._told_full = False
        self._newcomers.pop(session, None)
        self._sessions[session] = None
        handlers = self._dispatcher.handlers
        allowed = {code: handlers[code] for code in grant.codes if code in handlers}
        session.accept(tag, self._hello_reply(), grant, allowed)

    def _refuse_one_more(self, session: Session, tag: Tag) -> None:
        self.counters.turned_away += 1
        if not self._told_full:
            self._told_full = True  # once, until somebody gets in again
            log.warning("connections are refused", max_connections=len(self._sessions))
        text = f"the node has {self.quota.connection_count_max} connections (max_connections)"
        session.turn_away(tag, refuse(ErrorCode.TOO_MANY_CONNECTIONS, text, RETRY_AFTER_MS))

    def _hello_reply(self) -> HelloReply:
        replica = self._dispatcher.replica
        settings = replica.machine.settings
        return HelloReply(
            *(PROTOCOL_VERSION, replica.cluster_id, replica.node_id, replica.leader, replica.term),
            [[node_id, address] for node_id, address in replica.members()],
            self._server_version,
            round(self.quota.idle_secs * 1000),
            *(FRAME_SIZE_MAX, settings.payload_size_max, settings.result_size_max),
            *(settings.max_batch_claim, self.quota.request_count_max),
        )

    def _leader_changed(self, leader: str) -> None:
        """Tells everybody: clients go to the leader where they can reach it."""
        if leader:
            frame = announcement(self._hello_reply())
            for session in self._sessions:
                session.announce(frame)

    # --- rounds -----------------------------------------------------------------------------------

    def soil(self, session: Requester) -> None:
        """A session has something to write or to go on with in the next round of the loop."""
        if not self._dirty:
            self.loop.call_soon(self._flush)
        self._dirty.append(session)

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        now = self.loop.time()
        for session in dirty:
            try:
                session.flush(now)
            except Exception:
                # A bug met by one connection must not leave the others unanswered.
                log.exception("a connection broke")
                session.abort("bug")
        if self._starved:
            self._feed()

    # --- total size -------------------------------------------------------------------------------

    def must_wait(self, session: Requester) -> bool:
        """Whether the node holds so much that this session gets no more: while it is over its
        limit, those who hold more than their share; at twice the limit, everybody."""
        if not self.is_over():
            return False
        quota = self.quota
        return self.size >= 2 * quota.node_size_max or session.weight() > quota.fair_size

    def is_over(self) -> bool:
        """Whether the node holds as much as it may."""
        size_max = self.quota.node_size_max
        return self.size >= size_max or self._dispatcher.replica.in_flight_bytes() >= size_max

    def is_promised(self) -> bool:
        """Whether what the node holds and what claims on their way may add reach its limit."""
        return self.size + self.reserved >= self.quota.node_size_max

    def starve(self, session: Requester) -> None:
        """Reads no more from a session, nor for it, until the node holds less."""
        if session not in self._starved:
            self._starved[session] = None
            session.starve(True)

    def _feed(self) -> None:
        if not self.is_over():
            starved, self._starved = self._starved, {}
            for session in starved:
                session.starve(False)

    # --- the sweep --------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts the sweep."""
        self._sweeping = self.loop.call_later(SWEEP_SECS, self._sweep)

    def stop(self) -> None:
        """Ends the sweep; new connections are closed at once."""
        self.stopping = True
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None

    def _sweep(self) -> None:
        self._sweeping = self.loop.call_later(SWEEP_SECS, self._sweep)
        now = self.loop.time()
        for session in self.all():
            session.review()
            reason = self._overdue(session, now)
            if reason:
                log.debug("connection dropped", reason=reason)
                session.abort(reason)
        for session in departed(self._sessions):
            session.abort("gone")
        self._shed()
        self._feed()

    def _overdue(self, session: Session, now: float) -> str:
        """Why a session has to go; "" where it may stay."""
        idle = self.quota.idle_secs
        if session.closing_at:
            return "does not read" if now - session.closing_at > idle else ""
        if not session.open and now - session.opened_at > self.quota.hello_secs:
            return "no hello"
        if session.stuck_at and now - session.stuck_at > idle:
            return "does not read"
        return "idle" if session.reads() and now - session.frame_at > idle else ""

    def _shed(self) -> None:
        """Over the limit from one sweep to the next, nothing drains by itself: what holds most goes
        (incomplete frames, unread answers), until there is room."""
        over = self.size >= self.quota.node_size_max
        if over and self._was_over:
            everybody: list[Requester] = [*self.all(), *self.remotes.all()]
            heaviest = sorted(everybody, key=lambda session: session.reckoned, reverse=True)
            room = self.size - self.quota.node_size_max
            for session in heaviest:
                if room < 0:
                    break
                room -= session.reckoned
                log.warning("connection dropped", reason="memory", size=session.reckoned)
                session.abort("memory")
        self._was_over = over
