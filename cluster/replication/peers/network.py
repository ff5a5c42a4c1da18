"""All connections of a node with the other members of its group; what the Raft adapter talks to.

One connection per direction: a node sends on the one that it dialled and receives on those that it
accepted (A13). Messages may be lost where a connection breaks or a buffer is full, for Raft repeats
what matters; within a connection they arrive once and in order, and never after those of a newer
connection of the same peer (A4).
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any

import structlog

from cluster.replication.peers.absences import Way
from cluster.replication.peers.dialler import Dialler
from cluster.replication.peers.door import Door
from cluster.replication.peers.introduction import (
    INCARNATION_SIZE,
    NONCE_SIZE,
    Introduction,
    encode_introduction,
)
from cluster.replication.peers.names import Names, Resolver, look_up, parse_address
from cluster.replication.peers.sending import SendingLink
from cluster.replication.peers.tally import Tally
from cluster.replication.peers.timings import Timings
from cluster.replication.peers.trust import Trust

log = structlog.get_logger(__name__)

# How often unsent bytes are looked at; a stalled connection lives so much longer.
REVIEW_SECS = 0.5
CLOSE_SECS = 0.5
NOWHERE: Mapping[str, str] = MappingProxyType({})


def _ignore(_: Any) -> None:
    """Nobody asked."""


class PeerNetwork:
    """See the module. Made and used on one loop; every callback comes on it, none after `stop`.

    `on_message(peer_id, message)`: a message arrived. `on_connected(peer_id)`: messages can be sent
    from now on; everything sent before may be lost. `on_disconnected(peer_id)`: no more.
    `on_hello(introduction)`: a peer opened the connection on which it sends, with its disk id and
    cluster id. `on_silence(peer_id)`: that connection is closed. `on_failure(error)`: a callback
    raised, which is a bug; the message counts as delivered. `guest_count_max`: so many that are no
    peers, but have the secret and are of this cluster or of none, may come in.
    """

    def __init__(
        self,
        node_id: str,
        cluster_id: str,
        disk_id: str,
        trust: Trust,
        on_message: Callable[[str, bytes], None],
        on_connected: Callable[[str], None] = _ignore,
        on_disconnected: Callable[[str], None] = _ignore,
        *,
        on_hello: Callable[[Introduction], None] = _ignore,
        on_silence: Callable[[str], None] = _ignore,
        on_failure: Callable[[BaseException], None] = _ignore,
        guest_count_max: int = 0,
        timings: Timings | None = None,
        resolver: Resolver = look_up,
    ) -> None:
        self._own = Introduction(
            node_id, cluster_id, disk_id, secrets.token_bytes(INCARNATION_SIZE), 0
        )
        encode_introduction(self._own, node_id, bytes(NONCE_SIZE))  # raises for ids too long
        self._trust = trust
        self._timings = timings or Timings()
        self._on_message = on_message
        self._on_connected = on_connected
        self._on_disconnected = on_disconnected
        self._on_hello = on_hello
        self._on_silence = on_silence
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._names = Names(resolver)
        self._tally = Tally(self._loop.time)
        self._diallers: dict[str, Dialler] = {}
        self._ready: dict[str, SendingLink] = {}
        self._door = Door(
            *(lambda: self._own, self._diallers, trust, self._timings, self._tally, self),
            guest_count_max=guest_count_max,
        )
        self._reviewing: asyncio.TimerHandle | None = None
        self._running = False
        self._stopped = False

    # --- life -------------------------------------------------------------------------------------

    async def start(self, host: str, port: int) -> int:
        """Listens and dials; the port that was taken, where `port` is 0.

        Raises OSError, and ValueError where `host` is open to other machines but the trust is not
        made for that. Nothing runs then.
        """
        taken = await self._door.open(host, port)
        self._running = True
        for dialler in self._diallers.values():
            dialler.start()
        self._review()
        return taken

    async def stop(self) -> None:
        """Sends what is queued for at most half a second, then closes everything. No callback comes
        after this call began."""
        self._running, self._stopped = False, True
        self._tally.absences.end()
        if self._reviewing is not None:
            self._reviewing.cancel()
        tasks = [task for one in self._diallers.values() if (task := one.stop()) is not None]
        links = list(self._ready.values())
        for link in links:
            link.close()
        if links:
            await asyncio.wait([link.lost for link in links], timeout=CLOSE_SECS)
        for link in links:
            link.abort()
        await self._door.close()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._names.stop()
        await asyncio.sleep(0)  # closed transports leave the loop in its next round

    def _review(self) -> None:
        now = self._loop.time()
        for link in list(self._ready.values()):
            link.review(now)
        self._tally.absences.review()
        self._reviewing = self._loop.call_later(REVIEW_SECS, self._review)

    # --- peers ------------------------------------------------------------------------------------

    def set_peers(
        self,
        addresses: Mapping[str, str],
        spare: Mapping[str, str] = NOWHERE,
        anew: Collection[str] = (),
    ) -> None:
        """Who the others are: node id to `HOST:PORT`; this node itself may be among them. `spare`:
        where some are dialled when they are not found at their address.

        Connections of peers that are gone are closed. A new address of a connected peer counts from
        the next dial on: who is there has proved its id. Not so of peers in `anew`, which have to
        be found at the address: a connection that was made at another is closed. Raises ValueError,
        and changes nothing.
        """
        for address in (*addresses.values(), *spare.values()):
            parse_address(address)
        for peer_id in [one for one in self._diallers if one not in addresses]:
            self._diallers.pop(peer_id).stop()
            self._hang_up(peer_id)
            self._door.pause(peer_id, False)
            self._tally.absences.forget(peer_id)
        for peer_id, address in addresses.items():
            if peer_id != self._own.node_id:
                self._set_peer(peer_id, (address, spare.get(peer_id, "")), peer_id in anew)

    def _set_peer(self, peer_id: str, places: tuple[str, str], anew: bool) -> None:
        known, link = self._diallers.get(peer_id), self._ready.get(peer_id)
        if known is not None:
            astray = anew and link is not None and known.dialled != places[0]
            if not astray and (link is not None or known.places == places):
                known.places = places
                return
            if link is not None:
                link.abort()
            known.stop()
        dialler = Dialler(
            *(peer_id, places, self._introduce, self._trust, self._timings, self._names),
            *(self._tally, self._connected, self._disconnected),
        )
        self._diallers[peer_id] = dialler
        if self._running:
            dialler.start()

    def set_cluster(self, cluster_id: str) -> None:
        """This node now belongs to that cluster: every connection is made anew under its id."""
        if cluster_id != self._own.cluster_id:
            self._own = self._own._replace(cluster_id=cluster_id)
            for peer_id in {*self._diallers, *self._door.heard()}:
                self._hang_up(peer_id)

    def _hang_up(self, peer_id: str) -> None:
        link = self._ready.get(peer_id)
        if link is not None:
            link.abort()
        self._door.shut_out(peer_id)

    def _introduce(self) -> Introduction:
        self._own = self._own._replace(generation=self._own.generation + 1)
        return self._own

    # --- messages ---------------------------------------------------------------------------------

    def send(self, peer_id: str, message: bytes) -> bool:
        """Queues a message; never waits. False, and it is dropped, where there is no connection or
        too much waits for it already. Raises ValueError above `MESSAGE_SIZE_MAX`."""
        link = self._ready.get(peer_id)
        if link is None:
            return False
        if link.send(message):
            return True
        if not link.is_closing:  # else it is told as lost in a moment
            self._tally.note("full", peer_id, "too much waits for it")
        return False

    def flush(self) -> None:
        """Writes what is queued now, instead of in the next round of the loop."""
        for link in self._ready.values():
            link.flush()

    def pause_reading(self, peer_id: str) -> None:
        """Delivers nothing more of this peer, from this moment on, until `resume_reading`. What is
        not read waits in the buffers of both systems, then at the peer; if that takes longer than
        `Timings.stall_secs`, the peer drops the connection and what waits in it."""
        self._door.pause(peer_id, True)

    def resume_reading(self, peer_id: str) -> None:
        """Goes on where `pause_reading` stopped; messages may be delivered before this returns."""
        self._door.pause(peer_id, False)

    def connected(self) -> set[str]:
        """Peers to which messages can be sent."""
        return set(self._ready)

    def heard_from(self) -> set[str]:
        """Peers that can send to this node."""
        return self._door.heard()

    @property
    def counts(self) -> Counter[str]:
        """How often what went wrong; for the metrics."""
        return self._tally.counts

    @property
    def stranger_count(self) -> int:
        """Connections to the port that have proved nothing yet."""
        return self._door.stranger_count

    # --- called by the links ----------------------------------------------------------------------

    def _connected(self, link: SendingLink) -> None:
        # Begun before a peer was removed or the cluster id was known: too late.
        other_cluster = link.own.cluster_id != self._own.cluster_id
        if self._stopped or other_cluster or link.peer_id not in self._diallers:
            link.abort()
            return
        self._ready[link.peer_id] = link
        self._tally.absences.back(link.peer_id, Way.TO)
        self._tell(self._on_connected, link.peer_id)

    def _disconnected(self, link: SendingLink) -> None:
        if self._ready.get(link.peer_id) is link:
            del self._ready[link.peer_id]
            self._tell(self._on_disconnected, link.peer_id)

    def heard(self, peer_id: str, message: bytes) -> None:
        """A message came in at the door."""
        self._tell(self._on_message, peer_id, message)

    def greeted(self, peer: Introduction) -> None:
        """A peer came in at the door."""
        self._tally.absences.back(peer.node_id, Way.FROM)
        self._tell(self._on_hello, peer)

    def silenced(self, peer_id: str) -> None:
        """A peer that had come in is gone."""
        self._tell(self._on_silence, peer_id)

    def _tell(self, callback: Callable[..., None], *arguments: Any) -> None:
        if self._stopped:
            return
        try:
            callback(*arguments)
        except Exception as error:  # the owner decides what a bug in its callback ends
            log.exception("what was called for a message between nodes failed")
            self._on_failure(error)
