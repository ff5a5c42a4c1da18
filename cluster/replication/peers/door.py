"""The port to which the other nodes connect: who comes in, and whose messages are delivered.

At most one connection of each peer is admitted, the newest: as soon as a peer has proved itself on
a new one, nothing that its older ones hold is delivered any more (A4). Strangers are few, small and
short-lived, TLS handshakes included, and the oldest gives way.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import secrets
import socket
from collections.abc import Callable, Container
from typing import Protocol

from cluster.listening import listen
from cluster.replication.peers.frames import FrameError
from cluster.replication.peers.handshake import (
    Accepting,
    NotAuthenticated,
    Refused,
    Verdict,
    judge,
)
from cluster.replication.peers.introduction import INCARNATION_SIZE, Introduction
from cluster.replication.peers.names import look_up
from cluster.replication.peers.receiving import ReceivingLink
from cluster.replication.peers.tally import Tally
from cluster.replication.peers.timings import Timings
from cluster.replication.peers.trust import Trust, certifies
from cluster.replication.peers.tuning import tune
from taskq.limits import NAME_PATTERN

# A flood waits here; the kernel drops what is above.
BACKLOG = 256
# What `raft.node_id` may be: a guest comes under a name that a node can have.
_NODE_ID = re.compile(NAME_PATTERN)
# No descriptor was free, or a connection broke before it was taken: try again soon.
ACCEPT_PAUSE_SECS = 0.05


class Receiver(Protocol):
    """Who hears what comes in. Nothing of it may raise."""

    def heard(self, peer_id: str, message: bytes) -> None:
        """The next message of a peer."""

    def greeted(self, peer: Introduction) -> None:
        """A peer opened a connection; what its older ones held is gone."""

    def silenced(self, peer_id: str) -> None:
        """The connection on which a peer sent is closed, and there is no newer one."""


class Door:
    """See the module. `own()` introduces this node as of now; `known` has the ids of all peers;
    so many others may come in as `guest_count_max` says."""

    def __init__(
        self,
        own: Callable[[], Introduction],
        known: Container[str],
        trust: Trust,
        timings: Timings,
        tally: Tally,
        receiver: Receiver,
        guest_count_max: int = 0,
    ) -> None:
        self._guest_count_max = guest_count_max
        self._own = own
        self._known = known
        self._trust = trust
        self._timings = timings
        self._tally = tally
        self._receiver = receiver
        self._loop = asyncio.get_running_loop()
        self._listeners: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        # In order of arrival. A socket gets its link when TLS is through; the task ends with it.
        self._strangers: dict[ReceivingLink, asyncio.Task[None]] = {}
        self._deadlines: dict[ReceivingLink, asyncio.TimerHandle] = {}
        self._admitted: dict[str, ReceivingLink] = {}
        # The newest connection that each peer ever had: a late Hello of an older one is refused.
        self._newest: dict[str, tuple[bytes, int]] = {}
        self._paused: set[str] = set()

    async def open(self, host: str, port: int) -> int:
        """Listens on every address of `host`; the port that was taken, where `port` is 0.

        Raises OSError, and ValueError where other machines could come in but nothing tells them
        from strangers."""
        places = await look_up(host, port)
        for _, address in places:
            if self._trust.loopback_only and not ipaddress.ip_address(address[0]).is_loopback:
                text = f"without a secret or certificates, {address[0]} is open to strangers"
                raise ValueError(f"{text}: set raft.secret or raft.cert_file, or use 127.0.0.1")
        self._listeners = listen(places, port, BACKLOG)
        self._accepting = [self._loop.create_task(self._accept(one)) for one in self._listeners]
        return int(self._listeners[0].getsockname()[1])

    async def close(self) -> None:
        """Closes the port and every connection. Nothing is delivered after this call began."""
        for link in [*self._strangers, *self._admitted.values()]:
            link.close()
        tasks = [*self._accepting, *self._strangers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        for deadline in self._deadlines.values():
            deadline.cancel()

    # --- strangers --------------------------------------------------------------------------------

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                stream, address = await self._loop.sock_accept(listener)
            except OSError as error:
                self._tally.note("accept", "stranger", str(error))
                await asyncio.sleep(ACCEPT_PAUSE_SECS)
                continue
            self._let_in(stream, str(address))

    def _let_in(self, stream: socket.socket, address: str) -> None:
        if len(self._strangers) >= self._timings.stranger_count_max:
            oldest = next(iter(self._strangers))
            self._drop(oldest, "crowded", "too many connections that have proved nothing yet")
        accepting = Accepting(self._own(), self._trust.key, secrets.token_bytes)
        link = ReceivingLink(self, accepting, address)
        task = self._loop.create_task(self._attach(link, stream))
        self._strangers[link] = task
        task.add_done_callback(lambda done: self._attached(link, stream, done))
        self._deadlines[link] = self._loop.call_later(
            self._timings.handshake_secs, self._drop, link, "slow", "no proof within the time"
        )

    async def _attach(self, link: ReceivingLink, stream: socket.socket) -> None:
        context = self._trust.server_context
        tune(stream, self._timings.stall_secs)
        await self._loop.connect_accepted_socket(
            lambda: link,
            stream,
            ssl=context,
            ssl_handshake_timeout=self._timings.handshake_secs if context else None,
        )

    def _attached(
        self, link: ReceivingLink, stream: socket.socket, done: asyncio.Task[None]
    ) -> None:
        if done.cancelled():
            error: BaseException | None = asyncio.CancelledError()
        else:
            error = done.exception()
            if error is not None:  # TLS failed, or the peer was gone
                self._tally.note("attach", "stranger", f"{link.address}: {error}")
        if error is not None:
            # A transport that was begun has closed it already: this is for the others.
            stream.close()
            self._forget(link)

    def _drop(self, link: ReceivingLink, kind: str, text: str) -> None:
        self._tally.note(kind, "stranger", f"{link.address}: {text}")
        task = self._strangers.get(link)
        self._forget(link)
        link.close()
        if task is not None:
            task.cancel()

    def _forget(self, link: ReceivingLink) -> None:
        self._strangers.pop(link, None)
        deadline = self._deadlines.pop(link, None)
        if deadline is not None:
            deadline.cancel()

    # --- called by the links ----------------------------------------------------------------------

    def judge(self, link: ReceivingLink) -> Verdict:
        """What to tell a peer that has just proved who it is."""
        peer = link.accepting.peer
        assert peer is not None
        own = self._own()
        try:
            judge(own, peer, wanted=link.accepting.wanted, reached=own.node_id)
            if own.cluster_id != link.accepting.own.cluster_id:
                raise Refused(Verdict.OTHER_CLUSTER, "our cluster id changed in the handshake")
            if peer.node_id not in self._known and not self._may_visit(peer.node_id):
                raise Refused(Verdict.UNKNOWN_NODE, f"{peer.node_id} is no peer of this node")
            if self._trust.server_context and not certifies(link.ssl_object, peer.node_id):
                text = f"{peer.node_id} came with a certificate for another name"
                raise Refused(Verdict.WRONG_CERTIFICATE, text)
            incarnation, generation = self._newest.get(peer.node_id, (b"", 0))
            if incarnation == peer.incarnation and generation >= peer.generation:
                text = f"connection {peer.generation} of {peer.node_id} comes after {generation}"
                raise Refused(Verdict.SUPERSEDED, text)
        except Refused as refused:
            text = f"{link.address}: {refused}"
            self._tally.note(refused.verdict.name.lower(), peer.node_id, text)
            return refused.verdict
        return Verdict.WELCOME

    def _may_visit(self, peer_id: str) -> bool:
        """Whether there is room for one more that is no peer, and it can be a node."""
        if not _NODE_ID.fullmatch(peer_id):
            return False
        guests = [one for one in self._admitted if one not in self._known and one != peer_id]
        return len(guests) < self._guest_count_max

    def admit(self, link: ReceivingLink) -> None:
        """From now on the peer is heard on this connection and on no other."""
        peer = link.accepting.peer
        assert peer is not None
        assert len(peer.incarnation) == INCARNATION_SIZE
        self._forget(link)
        older = self._admitted.pop(peer.node_id, None)
        if older is not None:
            older.close()
        self._admitted[peer.node_id] = link
        self._newest[peer.node_id] = (peer.incarnation, peer.generation)
        self._receiver.greeted(peer)
        link.pause(peer.node_id in self._paused)

    def deliver(self, link: ReceivingLink, message: bytes) -> None:
        """A message of an admitted connection."""
        self._receiver.heard(link.peer_id, message)

    def offended(self, link: ReceivingLink, error: FrameError) -> None:
        """A peer or stranger sent what none of ours sends: it is put out."""
        kind = "secret" if isinstance(error, NotAuthenticated) else "protocol"
        self._tally.note(kind, link.peer_id, f"{link.address}: {error}")
        link.close()

    def left(self, link: ReceivingLink, exc: Exception | None) -> None:
        """A connection is gone."""
        self._forget(link)
        if self._admitted.get(link.peer_id) is link:
            del self._admitted[link.peer_id]
            if link.peer_id not in self._known:
                self._newest.pop(link.peer_id, None)  # guests may come under many names
            self._tally.note("left", link.peer_id, f"{link.address}: {exc or 'closed'}")
            self._receiver.silenced(link.peer_id)

    # --- called by the network --------------------------------------------------------------------

    @property
    def stranger_count(self) -> int:
        """Connections that have proved nothing yet."""
        return len(self._strangers)

    def heard(self) -> set[str]:
        """Peers whose messages can arrive."""
        return set(self._admitted)

    def pause(self, peer_id: str, paused: bool) -> None:
        """Stops or goes on delivering and reading a peer's messages, on later connections, too."""
        (self._paused.add if paused else self._paused.discard)(peer_id)
        link = self._admitted.get(peer_id)
        if link is not None:
            link.pause(paused)

    def shut_out(self, peer_id: str) -> None:
        """Closes what the peer sends on; it may come again if it is still known."""
        link = self._admitted.get(peer_id)
        if link is not None:
            link.close()
