"""A node's side to the rest of its group: links, founding, the state it may be given.

Lives as long as the node; the core behind it comes and goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from cluster.replication.channels import FORWARD, SNAPSHOT
from cluster.replication.core import Core, Others
from cluster.replication.founder import Founder
from cluster.replication.group_settings import GroupSettings
from cluster.replication.links import Links, Note
from cluster.replication.snapshots.receiver import SnapshotReceiver
from cluster.replication.surroundings import Surroundings

# Founding says again what may have been lost, and transfers of states are looked at. Seconds.
WAKE_SECS = 0.5


class Membership:
    """See the module. `on_formed()`: the node belongs to a cluster now. `on_state(index)`: a state
    was received. `on_forward(peer_id, payload)`, `on_peer_lost(peer_id)`: see `Replica`.
    `on_wake(now)`: twice a second, in loop time."""

    def __init__(
        self,
        group: GroupSettings,
        directory: Any,
        surroundings: Surroundings,
        *,
        note: Callable[[], Note],
        on_formed: Callable[[], None],
        on_failure: Callable[[BaseException], None],
        on_state: Callable[[int], None],
        on_forward: Callable[[str, bytes], None],
        on_peer_lost: Callable[[str], None],
        on_wake: Callable[[float], None],
    ) -> None:
        self._group = group
        self._on_peer_lost = on_peer_lost
        self._on_wake = on_wake
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._core: Core | None = None
        identity = directory.identity
        self.links = Links(
            group,
            identity.cluster_id,
            identity.disk_id,
            surroundings,
            note=note,
            on_up=self._up,
            on_down=self._down,
            on_failure=on_failure,
        )
        self._founder = Founder(directory, group, self.links, on_formed)
        self._executor = surroundings.executor("received state")
        self.receiver = SnapshotReceiver(
            lambda peer_id, message: self.links.send(SNAPSHOT, peer_id, message),
            directory.begin_state,
            self._executor,
            self._applied,
            on_ready=on_state,
            on_life=self._leader_lives,
            on_failure=on_failure,
        )
        self.links.handlers[SNAPSHOT] = self._snapshot
        self.links.handlers[FORWARD] = lambda peer_id, payload: on_forward(peer_id, bytes(payload))

    async def start(self) -> None:
        """Listens, dials, and begins to found the cluster where that is not done."""
        await self.links.start()
        self._wake()

    async def stop(self) -> None:
        """After the core was closed."""
        if self._timer is not None:
            self._timer.cancel()
        await self.links.stop()
        await self.receiver.reset()
        self._executor.shutdown(wait=True)

    # --- founding ---------------------------------------------------------------------------------

    @property
    def formed(self) -> bool:
        """Whether this node belongs to a cluster."""
        return self._founder.founding.formed

    @property
    def listed(self) -> bool:
        """Whether its disk is one that founded the cluster."""
        return self._founder.founding.listed

    @property
    def obstacle(self) -> str:
        """What founding waits for."""
        return self._founder.founding.obstacle

    def _wake(self) -> None:
        self._timer = self._loop.call_later(WAKE_SECS, self._wake)
        self._founder.wake()
        if self._core is not None and self._core.exchange is not None:
            self._core.exchange.sender.wake(self._loop.time())
        self._on_wake(self._loop.time())

    # --- the core ---------------------------------------------------------------------------------

    def others(self) -> Others:
        """What a core needs to know of the rest."""
        members = self._founder.founding.record.disks
        peers = [one for one in members if one != self._group.node_id]
        return Others(self.links, self._group, self.receiver, peers)

    def attach(self, core: Core) -> None:
        """This is the core from now on."""
        self._core = core

    def detach(self) -> None:
        """There is no core for a while."""
        self._core = None

    def _applied(self) -> int:
        return 0 if self._core is None else self._core.raft.applied_index

    def _leader_lives(self) -> None:
        if self._core is not None:
            self._core.consensus.leader_lives()

    def _snapshot(self, peer_id: str, payload: memoryview) -> None:
        core = self._core
        if core is not None and core.exchange is not None:
            core.exchange.receive(peer_id, bytes(payload), core.raft.term)

    # --- links ------------------------------------------------------------------------------------

    def _up(self, peer_id: str) -> None:
        self._founder.link_up(peer_id)
        if self._core is not None:
            self._core.consensus.link_up(peer_id)
            self._core.driver.wake()

    def _down(self, peer_id: str, speaks: bool) -> None:
        """The connection on which this node (`speaks`) or the peer speaks was closed."""
        core = self._core
        if core is not None:
            if speaks:
                core.consensus.link_down(peer_id)
            else:
                core.consensus.silence(peer_id)
            core.driver.wake()
            if core.exchange is not None:
                core.exchange.peer_lost(peer_id)
        self._on_peer_lost(peer_id)

    def forward(self, peer_id: str, payload: bytes) -> bool:
        """Sends to the server of another node."""
        return self.links.send(FORWARD, peer_id, payload)

    def addresses(self, own: str) -> list[tuple[str, str]]:
        """(node id, client address) of every member."""
        notes = self.links.notes
        members = sorted(self._founder.founding.record.disks or self._group.members)
        known = {one: notes[one].address for one in members if one in notes}
        return [(one, own if one == self._group.node_id else known.get(one, "")) for one in members]
