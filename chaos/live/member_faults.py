"""Members that leave and come back while all others go on: with what they had, or wiped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chaos.live.members import address_of, change
from chaos.live.nemesis import FOLLOWER, LEADER, Nemesis, Scene
from chaos.live.process_faults import AWAY_SECS, kill
from taskq.commands import AddMember, RemoveMember


@asynccontextmanager
async def removed(scene: Scene, names: tuple[str, ...]) -> AsyncIterator[None]:
    """Taken out of the members; added again at the end, with what they have."""
    for name in names:
        await change(scene.cluster, RemoveMember(name))
    try:
        yield
    finally:
        for name in names:
            await change(scene.cluster, AddMember(name, address_of(scene.cluster, name)))


@asynccontextmanager
async def replaced(scene: Scene, names: tuple[str, ...]) -> AsyncIterator[None]:
    """Killed for good and taken out; what comes in their places has empty disks."""
    await kill(scene, names)
    async with removed(scene, names):
        for name in names:
            await asyncio.to_thread(scene.cluster.wipe, name)
        scene.cluster.start(names)
        yield


REMOVE = Nemesis("remove and add", removed, (LEADER, FOLLOWER), lasts_secs=AWAY_SECS)
REPLACE = Nemesis("replace", replaced, (LEADER, FOLLOWER), lasts_secs=AWAY_SECS)

MEMBER_FAULTS = (REMOVE, REPLACE)
