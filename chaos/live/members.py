"""Changing the members of a live cluster, as `taskq cluster add` and `remove` do it."""

from __future__ import annotations

import asyncio
import time

from chaos.live.cluster import LOOK_SECS, LiveCluster, NotWhole
from taskq.commands import AddMember, RemoveMember
from taskq.errors import ConnectionFailed, OutcomeUnknown, Unavailable
from taskq.results import ChangeStage, MemberChange

PATIENCE_SECS = 60.0
AGAIN_SECS = 0.1


async def change(
    cluster: LiveCluster, wanted: AddMember | RemoveMember, *, timeout_secs: float = PATIENCE_SECS
) -> MemberChange:
    """Asks one running node after the other until it is done. Raises RequestRefused where the
    leader says no, NotWhole where it takes too long."""
    deadline = time.monotonic() + timeout_secs
    said: object = None
    while time.monotonic() < deadline:
        for name in [one for one, node in cluster.nodes.items() if node.running]:
            try:
                (said,) = await cluster.ask(name, wanted)
            except (Unavailable, ConnectionFailed, OutcomeUnknown) as error:
                said = error
                await asyncio.sleep(LOOK_SECS)
                continue
            assert isinstance(said, MemberChange), said
            if said.stage == ChangeStage.DONE:
                return said
            await asyncio.sleep(AGAIN_SECS)
    raise NotWhole(f"{wanted} after {timeout_secs:g} s: {said}")


def address_of(cluster: LiveCluster, name: str) -> str:
    """Of a node's Raft port, as the others reach it."""
    return f"{cluster.ground.peer_host(name)}:{cluster.raft_ports[name]}"


async def grow(cluster: LiveCluster, name: str) -> None:
    """A new node is started and becomes a member. Raises as `change`."""
    node = cluster.spare(name)
    node.spawn()
    await change(cluster, AddMember(name, address_of(cluster, name)))
    cluster.nodes[name] = node


async def shrink(cluster: LiveCluster, name: str) -> None:
    """A member is taken out; its process goes on. Raises as `change`."""
    await change(cluster, RemoveMember(name))
