"""The other nodes' end of this node's requests: one `RemoteSession` per node that passes some on.

Takes every message about requests apart and hands it to whom it concerns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from cluster.server.forward_letters import Requests, pack_reset, read_letter
from cluster.server.forwarding import Forwarding
from cluster.server.remote_session import RemoteSession
from cluster.server.replica import Replica
from cluster.server.requester import Handler
from taskq.errors import ProtocolError

if TYPE_CHECKING:
    from cluster.server.sessions import Sessions

log = structlog.get_logger(__name__)


class Remotes:
    """See the module. `handlers` carry out what other nodes pass on."""

    def __init__(
        self,
        replica: Replica,
        sessions: Sessions,
        forwarding: Forwarding,
        handlers: dict[int, Handler],
    ) -> None:
        self._replica = replica
        self._sessions = sessions
        self._forwarding = forwarding
        self._handlers = handlers
        self._by_peer: dict[str, RemoteSession] = {}
        self._ended: dict[str, int] = {}  # streams that are not begun again
        sessions.remotes = self
        replica.on_forward(self._receive)
        replica.on_peer_lost(self._lost)

    def all(self) -> list[RemoteSession]:
        """Sessions of all nodes that pass on requests."""
        return list(self._by_peer.values())

    def _receive(self, peer_id: str, message: bytes) -> None:
        try:
            letter = read_letter(message)
            if isinstance(letter, Requests):
                self._take(peer_id, letter)
            else:
                self._forwarding.receive(peer_id, letter)
        except ProtocolError as error:
            # Another member, proved: a bug or another version, and nothing to guess.
            log.error("a message about requests was not understood", peer=peer_id, why=str(error))
            session = self._by_peer.get(peer_id)
            if session is not None:
                self.reset(session)
            self._forwarding.lost(peer_id)

    def _take(self, peer_id: str, letter: Requests) -> None:
        if not self._replica.trusts(peer_id):
            self._lost(peer_id)  # it may have been a member
            self._replica.send(peer_id, pack_reset(letter.stream))
            return
        session = self._by_peer.get(peer_id)
        if session is None or session.stream != letter.stream:
            if self._ended.get(peer_id) == letter.stream:
                self._replica.send(peer_id, pack_reset(letter.stream))
                return
            if session is not None:
                self._end(session)
            session = self._begin(peer_id, letter.stream)
        session.receive(letter)

    def _begin(self, peer_id: str, stream: int) -> RemoteSession:
        def post(message: bytes) -> bool:
            return self._replica.send(peer_id, message)

        session = RemoteSession(self._sessions, peer_id, stream, self._handlers, post)
        self._by_peer[peer_id] = session
        return session

    def _lost(self, peer_id: str) -> None:
        session = self._by_peer.get(peer_id)
        if session is not None:
            self._end(session)

    def _end(self, session: RemoteSession) -> None:
        self._by_peer.pop(session.peer_id, None)
        self._ended[session.peer_id] = session.stream
        session.close()

    def reset(self, session: RemoteSession) -> None:
        """Gives up a session and tells the other node, whose requests end as unknown."""
        self._end(session)
        self._replica.send(session.peer_id, pack_reset(session.stream))
