"""Harm by disks: the power fails, writes are slow, there is no room, the device reports errors.

All on shimmed disks (`LiveCluster.equip`), in whose processes it is done: no root, no device of
our own. See `chaos/live/rot_faults.py` for damage at rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from chaos.live.ground import FOLDER, SHIM
from chaos.live.nemesis import (
    ALL,
    FOLLOWER,
    LEADER,
    MAJORITY,
    MINORITY,
    TARGETS,
    Harm,
    Nemesis,
    Scene,
)
from chaos.live.power import cut_power
from chaos.live.process_faults import kill
from chaos.live.shim.control import ALWAYS, EVERYTHING, LOG, STATE, ShimmedDisk

NEEDS = frozenset({SHIM, FOLDER})
# Room for some entries more, before a write fails in its middle. Bytes.
LAST_ROOM = (0, 65_536)
# A disk with bad spots: so many of a million calls fail.
NOW_AND_THEN = 5_000
# A node that ends at an error has done so by then, mostly; it is waited for once more at the end.
ENDS_SECS = 1.0


def disk_of(scene: Scene, name: str) -> ShimmedDisk:
    """Raises LookupError where the cluster was not equipped."""
    disk = scene.cluster.nodes[name].disk
    if disk is None:
        raise LookupError(f"{name} has no disk that can fail: LiveCluster.equip before its start")
    return disk


# --- power ----------------------------------------------------------------------------------------


@asynccontextmanager
async def power_cut(scene: Scene, names: tuple[str, ...]) -> AsyncIterator[None]:
    """All of them lose power at once, and with it what they had not synced; started again at the
    end."""
    await kill(scene, names)
    for name in names:
        await asyncio.to_thread(cut_power, disk_of(scene, name), scene.chance)
    try:
        yield
    finally:
        scene.cluster.start(names)


# --- slow, full, broken ---------------------------------------------------------------------------


def _harmed(harm: Callable[[Scene, ShimmedDisk], None]) -> Harm:
    """The harm that does this to each disk. A node may end by itself because of it, if it says why;
    it is started again on a good disk, as its supervisor would."""

    @asynccontextmanager
    async def harmed(scene: Scene, names: tuple[str, ...]) -> AsyncIterator[None]:
        disks = [disk_of(scene, name) for name in names]
        for disk in disks:
            harm(scene, disk)
        try:
            yield
        finally:
            for disk in disks:
                disk.heal()
            await started_again(scene, names)

    return harmed


async def started_again(scene: Scene, names: tuple[str, ...]) -> None:
    """Starts those that have ended by themselves. Raises AssertionError for one that did not say
    why."""
    await asyncio.sleep(ENDS_SECS)
    for name in names:
        node = scene.cluster.nodes[name]
        if not node.running:
            said = [one for one in node.log_lines()[-5:] if one.get("level") in _SAID]
            assert said, f"{name} ended with {node.returncode} without a word: {node.log_tail()}"
            node.spawn()


_SAID = ("error", "critical")


def _slow(scene: Scene, disk: ShimmedDisk) -> None:
    sync_secs = scene.chance.choice(((0.02, 0.02), (0.005, 0.1), (0.2, 0.2)))
    disk.slow(sync_secs=sync_secs, write_secs=(0.0, 0.002))


def _stalled(_: Scene, disk: ShimmedDisk) -> None:
    disk.stall()


def _full(scene: Scene, disk: ShimmedDisk) -> None:
    disk.leave_room(scene.chance.randint(*LAST_ROOM))


def _full_untold(scene: Scene, disk: ShimmedDisk) -> None:
    disk.leave_room(scene.chance.randint(*LAST_ROOM), told=False)


def _failing_writes(scene: Scene, disk: ShimmedDisk) -> None:
    disk.fail(writes=scene.chance.choice((ALWAYS, NOW_AND_THEN)), aim=_aim(scene))


def _failing_syncs(scene: Scene, disk: ShimmedDisk) -> None:
    disk.fail(syncs=scene.chance.choice((ALWAYS, NOW_AND_THEN)), aim=_aim(scene))


def _failing_reads(scene: Scene, disk: ShimmedDisk) -> None:
    disk.fail(reads=scene.chance.choice((ALWAYS, NOW_AND_THEN)), aim=_aim(scene))


def _aim(scene: Scene) -> int:
    return scene.chance.choice((EVERYTHING, LOG, STATE))


# --- the nemeses ----------------------------------------------------------------------------------

# For how long there is no power: some less than an election takes.
DARK_SECS = (0.0, 2.0)
BAD_SECS = (1.0, 5.0)
_MOST = (LEADER, FOLLOWER, MAJORITY, ALL)


def _bad(
    name: str, harm: Callable[[Scene, ShimmedDisk], None], targets: tuple[str, ...]
) -> Nemesis:
    return Nemesis(name, _harmed(harm), targets, NEEDS, BAD_SECS)


POWER_CUT = Nemesis("power cut", power_cut, TARGETS, NEEDS, DARK_SECS)
SLOW_DISK = _bad("slow disk", _slow, _MOST)
STALLED_DISK = _bad("stalled disk", _stalled, _MOST)
FULL_DISK = _bad("full disk", _full, _MOST)
FULL_DISK_UNTOLD = _bad("full disk, untold", _full_untold, _MOST)
FAILING_WRITES = _bad("failing writes", _failing_writes, _MOST)
FAILING_SYNCS = _bad("failing syncs", _failing_syncs, _MOST)
# What cannot be read is asked of the others: they have to be a majority.
FAILING_READS = _bad("failing reads", _failing_reads, (LEADER, FOLLOWER, MINORITY))

DISK_FAULTS = (
    *(POWER_CUT, SLOW_DISK, STALLED_DISK, FULL_DISK, FULL_DISK_UNTOLD),
    *(FAILING_WRITES, FAILING_SYNCS, FAILING_READS),
)
