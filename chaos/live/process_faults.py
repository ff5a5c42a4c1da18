"""Harm to the processes themselves: killed, stopped, hung, moved about, on a new empty disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chaos.live.nemesis import ALL, FOLLOWER, LEADER, MINORITY, TARGETS, Nemesis, Scene
from taskq import AsyncClient
from taskq.commands import TransferLeadership


@asynccontextmanager
async def killed(scene: Scene, names: tuple[str, ...]) -> AsyncIterator[None]:
    """SIGKILL to all of them at once; started again at the end."""
    await kill(scene, names)
    try:
        yield
    finally:
        scene.cluster.start(names)


@asynccontextmanager
async def stopped(scene: Scene, names: tuple[str, ...]) -> AsyncIterator[None]:
    """SIGTERM to all of them at once, as before an upgrade; started again at the end."""
    nodes = [scene.cluster.nodes[name] for name in names]
    await asyncio.gather(*(asyncio.to_thread(node.terminate) for node in nodes))
    try:
        yield
    finally:
        scene.cluster.start(names)


@asynccontextmanager
async def paused(scene: Scene, names: tuple[str, ...]) -> AsyncIterator[None]:
    """SIGSTOP, SIGCONT at the end: machines that hang, with all their connections open."""
    for name in names:
        scene.cluster.pause(name)
    try:
        yield
    finally:
        for name in scene.cluster.paused.intersection(names):  # but for those killed meanwhile
            scene.cluster.resume(name)


@asynccontextmanager
async def wiped(scene: Scene, names: tuple[str, ...]) -> AsyncIterator[None]:
    """Killed, and started at once on empty disks; they catch up while the block lasts."""
    await kill(scene, names)
    for name in names:
        await asyncio.to_thread(scene.cluster.wipe, name)
    scene.cluster.start(names)
    yield


@asynccontextmanager
async def wiped_and_relied_on(scene: Scene, names: tuple[str, ...]) -> AsyncIterator[None]:
    """As `wiped`, of a minority. When the cluster is whole again, so many others crash that nothing
    goes on without the votes and the disks of those that were wiped."""
    async with wiped(scene, names):
        await scene.cluster.whole()
    async with killed(scene, scene.others(names)):
        yield


@asynccontextmanager
async def transferred(scene: Scene, names: tuple[str, ...]) -> AsyncIterator[None]:
    """The leader hands over to another, asked to by a client."""
    async with AsyncClient(scene.cluster.url) as client:
        await client.call(TransferLeadership())
    yield


@asynccontextmanager
async def restarted_in_turn(scene: Scene, names: tuple[str, ...]) -> AsyncIterator[None]:
    """Each is asked to stop and started again, the leader first; the next one when all is whole."""
    leader = await scene.cluster.leader()
    for name in sorted(names, key=lambda name: name != leader):
        async with stopped(scene, (name,)):
            pass
        await scene.cluster.whole()
    yield


async def kill(scene: Scene, names: tuple[str, ...]) -> None:
    """SIGKILL, without holding up who watches from this process meanwhile."""
    await asyncio.to_thread(scene.cluster.kill, *names)


# How long a node is away, or hangs: some less than an election takes, some much longer.
AWAY_SECS = (0.1, 2.0)
HANGS_SECS = (0.5, 4.0)

KILL = Nemesis("kill", killed, TARGETS, lasts_secs=AWAY_SECS)
PAUSE = Nemesis("pause", paused, TARGETS, lasts_secs=HANGS_SECS, silent=True)
STOP = Nemesis("stop", stopped, (LEADER, FOLLOWER, ALL), lasts_secs=AWAY_SECS, planned=True)
WIPE = Nemesis("wipe", wiped, (LEADER, FOLLOWER, MINORITY), lasts_secs=AWAY_SECS)
WIPE_RELIED_ON = Nemesis(
    "wipe then kill (others)", wiped_and_relied_on, (FOLLOWER, MINORITY), lasts_secs=AWAY_SECS
)
TRANSFER = Nemesis("transfer", transferred, (LEADER,), planned=True)
ROLLING_RESTART = Nemesis("rolling restart", restarted_in_turn, (ALL,), planned=True)

PROCESS_FAULTS = (KILL, PAUSE, STOP, WIPE, WIPE_RELIED_ON, TRANSFER, ROLLING_RESTART)
