"""Stands in for `PeerNetwork`: the same constructor, methods, callbacks and guarantees.

One connection per direction. Within a connection messages arrive once and in order; a connection
that breaks takes with it what is under way; a newer one of the same peer discards what is unread
of the older. A crashed process closes its connections at once; of a machine that vanished nothing
is heard until a stalled connection is given up, or the machine is back and knows nothing of it.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from typing import Any

from chaos.sim.fabric import Fabric
from cluster.replication.peers.frames import MESSAGE_SIZE_MAX
from cluster.replication.peers.introduction import INCARNATION_SIZE, Introduction
from cluster.replication.peers.network import NOWHERE
from cluster.replication.peers.timings import Timings
from cluster.replication.peers.trust import Trust

# How often a crashed process takes with it what its system has not sent yet.
RESET_CHANCE = 0.3


def _ignore(_: Any) -> None:
    """Nobody asked."""


class Link:
    """A connection from one process to another, as both ends and the wire see it.

    `source_open`, `target_open`: that end still believes in it.
    """

    def __init__(self, source: SimNetwork, target: SimNetwork, peer: Introduction) -> None:
        self.source, self.target, self.peer = source, target, peer
        self.source_open = self.target_open = False
        self.arrives = 0.0  # the last message's arrival: none overtakes
        self.unanswered_since: float | None = None
        self.unread: deque[bytes] = deque()
        self.reset = False  # what is under way is lost
        self.fabric = source.fabric

    # --- from the sender --------------------------------------------------------------------------

    def send(self, message: bytes) -> None:
        """Puts it on the wire."""
        fabric, source, target = self.fabric, self.source.machine, self.target.machine
        now = fabric.world.now
        if self._is_blocked() and self.unanswered_since is None:
            self.unanswered_since = now
            fabric.world.after(self.source.timings.stall_secs, self._review)
        delay = fabric.delay(source, target, len(message))
        self.arrives = max(self.arrives, now + delay)
        fabric.carry(source, target, self.arrives, lambda: self._arrive(message))

    def _is_blocked(self) -> bool:
        there, back = self.source.machine, self.target.machine
        wires = (self.fabric.wire(there, back), self.fabric.wire(back, there))
        return any(wire.cut for wire in wires) or back in self.fabric.off or not self.target.alive

    def _review(self) -> None:
        """Unsent bytes that do not move: the sender gives the connection up."""
        self.unanswered_since = None
        if self._is_blocked() and self.source_open:
            self.source.lose(self)

    def _arrive(self, message: bytes) -> None:
        target = self.target
        if target.machine in self.fabric.off or self.reset:
            return
        if not target.alive:
            self.fabric.carry(
                target.machine, self.source.machine, self._back(), lambda: self.source.lose(self)
            )
        elif self.target_open:
            target.loop.call_soon(target.receive, self, message)

    def _back(self) -> float:
        return self.fabric.world.now + self.fabric.delay(self.target.machine, self.source.machine)

    # --- closing ----------------------------------------------------------------------------------

    def close_source(self) -> None:
        """The sender closes: the receiver hears of it behind everything that was sent."""
        if self.source_open:
            self.source_open = False
            fabric, there, here = self.fabric, self.target.machine, self.source.machine
            self.arrives = max(self.arrives, fabric.world.now + fabric.delay(here, there))
            fabric.carry(here, there, self.arrives, lambda: self.target.silence(self))

    def close_target(self) -> None:
        """The receiver closes: what is unread is lost, and the sender hears of it."""
        if self.target_open:
            self.target_open = False
            here, there = self.target.machine, self.source.machine
            self.fabric.carry(here, there, self._back(), lambda: self.source.lose(self))

    def break_off(self) -> None:
        """The connection breaks: both ends hear of it, what is under way is lost."""
        self.source.lose(self)
        self.target.silence(self)


class SimNetwork:
    """See the module. `machine`, `fabric`, `chance` come from the machine that it runs on."""

    def __init__(
        self,
        machine: str,
        fabric: Fabric,
        chance: Any,
        node_id: str,
        cluster_id: str,
        disk_id: str,
        trust: Trust | None,
        on_message: Callable[[str, bytes], None],
        on_connected: Callable[[str], None] = _ignore,
        on_disconnected: Callable[[str], None] = _ignore,
        *,
        on_hello: Callable[[Introduction], None] = _ignore,
        on_silence: Callable[[str], None] = _ignore,
        on_failure: Callable[[BaseException], None] = _ignore,
        guest_count_max: int = 0,
        timings: Timings | None = None,
        resolver: Any = None,
    ) -> None:
        self.machine, self.fabric, self._chance = machine, fabric, chance
        self.timings = timings or Timings()
        incarnation = chance.randbytes(INCARNATION_SIZE)
        self._own = Introduction(node_id, cluster_id, disk_id, incarnation, 0)
        self._on_message = on_message
        self._on_connected = on_connected
        self._on_disconnected = on_disconnected
        self._on_hello = on_hello
        self._on_silence = on_silence
        self._on_failure = on_failure
        loop: Any = asyncio.get_running_loop()
        self.loop = loop
        self._addresses: dict[str, str] = {}
        self._dialling: dict[str, asyncio.Task[None]] = {}
        self._ready: dict[str, Link] = {}
        self._admitted: dict[str, Link] = {}
        self._newest: dict[str, tuple[bytes, int]] = {}
        self._lost: dict[Link, asyncio.Future[None]] = {}
        self._paused: set[str] = set()
        self._guest_count_max = guest_count_max
        self._address = ""
        self._running = False
        self.alive = True
        self.stopped = False
        self.counts: Counter[str] = Counter()
        self.stranger_count = 0

    # --- life -------------------------------------------------------------------------------------

    async def start(self, host: str, port: int) -> int:
        """Listens and dials."""
        self._address = f"{host}:{port}"
        self.fabric.listening[self._address] = self
        self.fabric.machine_of[self._address] = self.machine
        self._running = True
        for peer_id in sorted(self._addresses):
            self._dial(peer_id)
        return port

    async def stop(self) -> None:
        """Closes everything; no callback comes any more."""
        self.stopped = True
        self._close()
        for peer_id in sorted(self._dialling):
            self._dialling[peer_id].cancel()
        await asyncio.sleep(0)

    def _close(self) -> None:
        self.alive = False
        if self.fabric.listening.get(self._address) is self:
            del self.fabric.listening[self._address]
        for peer_id in sorted(self._ready):
            self._ready[peer_id].close_source()
        for peer_id in sorted(self._admitted):
            self._admitted[peer_id].close_target()

    def die(self, *, vanish: bool) -> None:
        """The process is gone. Its system closes the connections, unless it is gone, too; then
        what is sent to it is answered by nobody until it is back."""
        self.stopped = True
        links = self.links()
        if not vanish:
            for link in links:
                link.reset = link.source is self and self._chance.random() < RESET_CHANCE
            self._close()
            return
        self.alive = False
        if self.fabric.listening.get(self._address) is self:
            del self.fabric.listening[self._address]
        for link in links:
            if link.source is self:
                link.reset = True  # nobody sends again what is on its way
                self.fabric.world.after(self.timings.stall_secs, link.target.silence, link)

    # --- peers ------------------------------------------------------------------------------------

    def set_peers(
        self,
        addresses: Mapping[str, str],
        spare: Mapping[str, str] = NOWHERE,  # addresses are always right here
        anew: Collection[str] = (),
    ) -> None:
        """As `PeerNetwork.set_peers`."""
        for peer_id in sorted(set(self._addresses) - set(addresses)):
            del self._addresses[peer_id]
            task = self._dialling.pop(peer_id, None)
            if task is not None:
                task.cancel()
            self._hang_up(peer_id)
        for peer_id in sorted(addresses):
            if peer_id != self._own.node_id:
                known = self._addresses.get(peer_id)
                self._addresses[peer_id] = addresses[peer_id]
                if known is None and self._running:
                    self._dial(peer_id)

    def set_cluster(self, cluster_id: str) -> None:
        """As `PeerNetwork.set_cluster`."""
        if cluster_id != self._own.cluster_id:
            self._own = self._own._replace(cluster_id=cluster_id)
            for peer_id in sorted({*self._addresses, *self._admitted}):
                self._hang_up(peer_id)

    def _hang_up(self, peer_id: str) -> None:
        link = self._ready.get(peer_id)
        if link is not None:
            link.close_source()
            self.lose(link, told=False)
        link = self._admitted.get(peer_id)
        if link is not None:
            link.close_target()
            self.silence(link)

    def _dial(self, peer_id: str) -> None:
        self._dialling[peer_id] = self.loop.create_task(self._keep(peer_id))

    async def _keep(self, peer_id: str) -> None:
        timings = self.timings
        while True:
            link = await self._connect(peer_id)
            if link is not None:
                self._lost[link] = self.loop.create_future()
                await self._lost[link]
                del self._lost[link]
            await asyncio.sleep(
                self._chance.uniform(timings.redial_secs_min, timings.redial_secs_max)
            )

    async def _connect(self, peer_id: str) -> Link | None:
        """A dial with its handshake: three ways on the wire, refused by a closed port."""
        fabric = self.fabric
        target_machine = fabric.machine_of.get(self._addresses[peer_id], "")
        if not target_machine or self._unreachable(target_machine):
            await asyncio.sleep(self.timings.dial_secs)
            return None
        self._own = own = self._own._replace(generation=self._own.generation + 1)
        for _ in range(2):
            await asyncio.sleep(fabric.delay(self.machine, target_machine))
            await asyncio.sleep(fabric.delay(target_machine, self.machine))
            if self._unreachable(target_machine):
                await asyncio.sleep(self.timings.handshake_secs)
                return None
        target = fabric.listening.get(self._addresses.get(peer_id, ""))
        if target is None or not target.admits(own):
            return None
        if own.cluster_id != self._own.cluster_id or peer_id not in self._addresses:
            return None
        link = Link(self, target, own)
        link.source_open = link.target_open = True
        self._ready[peer_id] = link
        target.loop.call_soon(target.admit, link)
        self._tell(self._on_connected, peer_id)
        return link if link.source_open else None

    def _unreachable(self, machine: str) -> bool:
        fabric = self.fabric
        cut = fabric.wire(self.machine, machine).cut or fabric.wire(machine, self.machine).cut
        return cut or machine in fabric.off

    # --- at the door ------------------------------------------------------------------------------

    def admits(self, peer: Introduction) -> bool:
        """Whether that peer may come in."""
        own = self._own
        other = own.cluster_id and peer.cluster_id and own.cluster_id != peer.cluster_id
        incarnation, generation = self._newest.get(peer.node_id, (b"", 0))
        late = incarnation == peer.incarnation and generation >= peer.generation
        known = peer.node_id in self._addresses or self._has_room(peer.node_id)
        return not (other or late or self.loop.paused or not known)

    def _has_room(self, peer_id: str) -> bool:
        guests = [one for one in self._admitted if one not in self._addresses and one != peer_id]
        return len(guests) < self._guest_count_max

    def admit(self, link: Link) -> None:
        """A connection proved itself: what is unread of the peer's older one is dropped."""
        peer = link.peer
        if self.stopped or not link.target_open or not self.admits(peer):
            link.close_target()
            return
        older = self._admitted.pop(peer.node_id, None)
        if older is not None:
            older.close_target()
        self._admitted[peer.node_id] = link
        self._newest[peer.node_id] = (peer.incarnation, peer.generation)
        self._tell(self._on_hello, peer)

    def receive(self, link: Link, message: bytes) -> None:
        """A message arrived."""
        peer_id = link.peer.node_id
        if self._admitted.get(peer_id) is not link or not link.target_open:
            return
        if peer_id in self._paused or link.unread:
            link.unread.append(message)
        else:
            self._tell(self._on_message, peer_id, message)

    def silence(self, link: Link) -> None:
        """A peer's connection is gone."""
        if self.alive:
            self.loop.call_soon(self._silence, link)

    def _silence(self, link: Link) -> None:
        link.target_open = False
        peer_id = link.peer.node_id
        if self._admitted.get(peer_id) is link:
            del self._admitted[peer_id]
            self._tell(self._on_silence, peer_id)

    # --- the sending side -------------------------------------------------------------------------

    def lose(self, link: Link, *, told: bool = True) -> None:
        """The own connection is gone."""
        if self.alive:
            self.loop.call_soon(self._lose, link)

    def _lose(self, link: Link) -> None:
        link.source_open = False
        peer_id = self._peer_of(link)
        if peer_id:
            del self._ready[peer_id]
            self._tell(self._on_disconnected, peer_id)
        lost = self._lost.get(link)
        if lost is not None and not lost.done():
            lost.set_result(None)

    def _peer_of(self, link: Link) -> str:
        return next((peer_id for peer_id, one in self._ready.items() if one is link), "")

    def links(self) -> list[Link]:
        """The open connections of this node, own ones first."""
        own = [self._ready[peer_id] for peer_id in sorted(self._ready)]
        return own + [self._admitted[peer_id] for peer_id in sorted(self._admitted)]

    # --- messages ---------------------------------------------------------------------------------

    def send(self, peer_id: str, message: bytes) -> bool:
        """As `PeerNetwork.send`."""
        if len(message) > MESSAGE_SIZE_MAX:
            raise ValueError(f"a message of {len(message)} bytes")
        link = self._ready.get(peer_id)
        if link is None or not link.source_open:
            return False
        self.fabric.world.counts["messages"] += 1
        link.send(message)
        return True

    def pause_reading(self, peer_id: str) -> None:
        """As `PeerNetwork.pause_reading`."""
        self._paused.add(peer_id)

    def resume_reading(self, peer_id: str) -> None:
        """As `PeerNetwork.resume_reading`."""
        self._paused.discard(peer_id)
        link = self._admitted.get(peer_id)
        while link is not None and link.unread and peer_id not in self._paused:
            self._tell(self._on_message, peer_id, link.unread.popleft())

    def flush(self) -> None:
        """What is sent is on its way at once."""

    def connected(self) -> set[str]:
        """Peers to which messages can be sent."""
        return set(self._ready)

    def heard_from(self) -> set[str]:
        """Peers that can send to this node."""
        return set(self._admitted)

    def _tell(self, callback: Callable[..., None], *arguments: Any) -> None:
        if self.stopped:
            return
        try:
            callback(*arguments)
        except Exception as error:  # noqa: BLE001  # as the real one: the owner decides
            self._on_failure(error)
