"""The node's connections with the others, and which part of it each message is for.

Lives as long as the node: the core behind it is closed and built anew. Beside passing messages on,
nodes tell each other a *note* every few seconds: their address for clients and how they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple, get_type_hints

import msgpack
import structlog

from cluster.replication.build import OtherVersionNeeded, refuse_cluster
from cluster.replication.channels import CHANNELS, NOTE, RAFT, SNAPSHOT
from cluster.replication.group_settings import GroupSettings
from cluster.replication.peers.introduction import Introduction
from cluster.replication.peers.network import NOWHERE
from cluster.replication.surroundings import Surroundings
from taskq.levels import Build

log = structlog.get_logger(__name__)

NOTE_SECS = 2.0
# Nodes that are no members and talk to this one: one that is to be added, some that were removed.
GUEST_COUNT_MAX = 16
# What these carry is the log and its state: nobody else's (A10).
_OF_MEMBERS = frozenset((RAFT, SNAPSHOT))


class Note(NamedTuple):
    """What a node tells about itself. `address`: for clients; bytes; `state`: in a few words;
    `level`: the cluster's feature level, 0 where the node does not know it. Append only: a later
    version says more, and what this one does not know of it is left aside."""

    address: str
    state: str
    term: int
    applied: int
    commit: int
    free_bytes: int
    log_bytes: int
    version: str
    level_min: int
    level_max: int
    level: int


_NOTE_TYPES = list(get_type_hints(Note).values())


class Links:
    """See the module. `handlers`: channel -> `handler(peer_id, payload)`. `note()`: this node's.
    `builds`: what peers run, as they said on their present connection; `announced`: where their
    Raft ports are, as they say.

    `on_up(peer_id)`: messages to the peer arrive from now on. `on_down(peer_id, speaks)`: the
    connection on which this node (`speaks`) or the peer speaks was closed. `trusts(peer_id)`,
    `believes(peer_id)`: see `Standing`.
    """

    def __init__(
        self,
        group: GroupSettings,
        cluster_id: str,
        disk_id: str,
        surroundings: Surroundings,
        *,
        note: Callable[[], Note],
        on_up: Callable[[str], None],
        on_down: Callable[[str, bool], None],
        on_failure: Callable[[BaseException], None],
        trusts: Callable[[str], bool],
        believes: Callable[[str], bool],
    ) -> None:
        self._group = group
        self._note = note
        self._trusts = trusts
        self._believes = believes
        self._unheard: set[str] = set()  # guests of whom it was said that they are not heard
        self._on_up = on_up
        self._on_down = on_down
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.handlers: dict[bytes, Callable[[str, memoryview], None]] = {NOTE: self._noted}
        self.notes: dict[str, Note] = {}
        self.builds: dict[str, Build] = {}
        self.heard_at: dict[str, float] = {}
        self.announced: dict[str, str] = {}
        self._build = surroundings.build
        self._on_failure = on_failure
        self.port = 0
        self._network = surroundings.network(
            group.node_id,
            cluster_id,
            disk_id,
            group.trust,
            self._received,
            self._up,
            self._gone_down,
            on_hello=self._greeted,
            on_silence=self._silent,
            on_failure=on_failure,
            guest_count_max=GUEST_COUNT_MAX,
        )
        self._members: dict[str, str] = {}
        self._spare: dict[str, str] = {}
        self._learners: set[str] = set()
        self._guests: dict[str, str] = {}
        self.set_members(group.members)

    async def start(self) -> int:
        """Listens and dials; the port. Raises OSError, ValueError."""
        self.port = await self._network.start(self._group.host, self._group.port)
        self._timer = self._loop.call_later(NOTE_SECS, self._tell_regularly)
        return self.port

    async def stop(self) -> None:
        """Closes everything; no handler is called any more."""
        if self._timer is not None:
            self._timer.cancel()
        await self._network.stop()

    def set_members(
        self,
        addresses: Mapping[str, str],
        spare: Mapping[str, str] = NOWHERE,
        learners: Collection[str] = (),
    ) -> None:
        """Whom this node dials: node id -> "host:port" of the Raft port, empty where not known;
        `spare`: and where else. Those of `learners` have to be found at their address, wherever
        they were until now. Who is none any more and there stays a guest: it may lead until its
        removal is committed, and hears of that."""
        members = {one: address for one, address in addresses.items() if address}
        if (members, spare, {*learners}) != (self._members, self._spare, self._learners):
            there = self._network.heard_from()
            left = {
                one: self.announced.get(one) or address
                for one, address in self._members.items()
                if one in there
            }
            self._guests = {
                one: address
                for one, address in {**self._guests, **left}.items()
                if one not in members
            }
            self._members, self._spare, self._learners = members, dict(spare), {*learners}
            self._set_peers()

    def welcome(self, peer_id: str, address: str) -> None:
        """A node that came in says where it is: it is dialled, too, so that it can be answered, for
        as long as it speaks (A4)."""
        self.announced[peer_id] = address
        if peer_id not in self._members and self._guests.get(peer_id) != address:
            self._guests[peer_id] = address
            self._set_peers()

    def _set_peers(self) -> None:
        self._network.set_peers({**self._guests, **self._members}, self._spare, self._learners)

    def set_cluster(self, cluster_id: str) -> None:
        """This node belongs to that cluster from now on."""
        self._network.set_cluster(cluster_id)

    def send(self, channel: bytes, peer_id: str, payload: bytes) -> bool:
        """Whether there was a connection with room; a message may be lost all the same."""
        return self._network.send(peer_id, channel + payload)

    def flush(self) -> None:
        """Writes what was sent now, instead of in the next round of the loop."""
        self._network.flush()

    def connected(self) -> set[str]:
        """Peers to which messages can be sent."""
        return self._network.connected()

    def heard_from(self) -> set[str]:
        """Peers that have a connection to this node."""
        return self._network.heard_from()

    # --- called by the network --------------------------------------------------------------------

    def _received(self, peer_id: str, message: bytes) -> None:
        self.heard_at[peer_id] = self._loop.time()
        handler = self.handlers.get(message[:1])
        if message[:1] in _OF_MEMBERS and not self._trusts(peer_id):
            self._turn_down(peer_id)
        elif handler is not None:
            handler(peer_id, memoryview(message)[1:])
        elif message[:1] not in CHANNELS:
            log.warning("a message that is for nobody", peer=peer_id, channel=message[:1].hex())
        # Else it is for a core that is not there yet, or not now: as good as lost on the way.

    def _turn_down(self, peer_id: str) -> None:
        if peer_id not in self._unheard:
            self._unheard.add(peer_id)
            log.warning(
                "a node that is no member, as far as is known here, speaks as one: that is not"
                " taken. Where it is one, and this warning goes on, name it in raft.peers",
                peer=peer_id,
            )

    def _up(self, peer_id: str) -> None:
        self._tell(peer_id)
        self._on_up(peer_id)

    def _gone_down(self, peer_id: str) -> None:
        self._on_down(peer_id, True)

    def _greeted(self, peer: Introduction) -> None:
        # A newer connection ends the older one, with what was on its way (A4).
        self.builds.pop(peer.node_id, None)
        self._on_down(peer.node_id, False)

    def _silent(self, peer_id: str) -> None:
        self.builds.pop(peer_id, None)
        self._unheard.discard(peer_id)
        self.announced.pop(peer_id, None)
        self._on_down(peer_id, False)
        if peer_id not in self._members:  # guests may come under many names
            self.notes.pop(peer_id, None)
            self.heard_at.pop(peer_id, None)
        if self._guests.pop(peer_id, None) is not None:
            self._set_peers()

    # --- notes ------------------------------------------------------------------------------------

    def tell(self) -> None:
        """Tells everybody now."""
        for peer_id in sorted(self._network.connected()):
            self._tell(peer_id)

    def _tell(self, peer_id: str) -> None:
        self.send(NOTE, peer_id, msgpack.packb(self._note()))

    def _tell_regularly(self) -> None:
        self._timer = self._loop.call_later(NOTE_SECS, self._tell_regularly)
        self.tell()

    def _noted(self, peer_id: str, payload: memoryview) -> None:
        try:
            note = Note(*msgpack.unpackb(payload)[: len(_NOTE_TYPES)])
            if [type(value) for value in note] != _NOTE_TYPES:
                raise ValueError("fields of other types")
        except Exception as error:  # noqa: BLE001  # whatever a decoder raises
            log.warning("a note that cannot be read", peer=peer_id, error=str(error))
            return
        self.notes[peer_id] = note
        self.builds[peer_id] = build = Build(note.version, note.level_min, note.level_max)
        if not self._believes(peer_id):
            return
        try:
            refuse_cluster(self._build, note.level, peer_id, build)
        except OtherVersionNeeded as error:
            # It is the first thing that is heard on a connection: before any entry.
            self._on_failure(error)
