"""Harm by disks: the power fails, writes are slow, there is no room, the device reports errors.

All on shimmed disks (`LiveCluster.equip`), in whose processes it is done: no root, no device of
our own. See `chaos/live/rot_faults.py` for damage at rest.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from chaos.live.ground import FOLDER, SHIM
from chaos.live.nemesis import (
    ALL,
    FOLLOWER,
    LEADER,
    MAJORITY,
    TARGETS,
    Harm,
    Missed,
    Nemesis,
    Scene,
)
from chaos.live.node import NodeDied
from chaos.live.power import Left, cut_power
from chaos.live.process_faults import kill
from chaos.live.shim.control import ALWAYS, EVERYTHING, LOG, STATE, ShimmedDisk

NEEDS = frozenset({SHIM, FOLDER})
# Room for some entries more, before a write fails in its middle. Bytes.
LAST_ROOM = (0, 65_536)
# What fails: all calls, or so many of a million, as on a disk with bad spots.
_FAILING = ((ALWAYS, EVERYTHING), (ALWAYS, LOG), (ALWAYS, STATE), (50_000, LOG))
# A start makes some dozen reads.
_FAILING_READS = (*_FAILING[:3], (300_000, EVERYTHING))
# A node that ends at an error has done so by then, mostly; it is waited for once more at the end.
ENDS_SECS = 1.0
# A node that does nothing for so long is no node under load.
MET_SECS = 10.0
LOOK_SECS = 0.05


def disk_of(scene: Scene, name: str) -> ShimmedDisk:
    """Raises LookupError where the cluster was not equipped."""
    disk = scene.cluster.nodes[name].disk
    if disk is None:
        raise LookupError(f"{name} has no disk that can fail: LiveCluster.equip before its start")
    return disk


# --- power ----------------------------------------------------------------------------------------


def power_cut(left: Left | None = None) -> Harm:
    """The harm that takes the power of all of them at once, and with it what they had not synced,
    `left` but for that which stays; started again at the end."""

    @asynccontextmanager
    async def cut(scene: Scene, names: tuple[str, ...]) -> AsyncIterator[None]:
        disks = [disk_of(scene, name) for name in names]
        await kill(scene, names)
        # A node that wrote past its disk, and so kept everything, was killed and no more.
        met = all(disk.journal.stat().st_size for disk in disks)
        for disk in disks:
            await asyncio.to_thread(cut_power, disk, scene.chance, left)
        try:
            if not met:
                raise Missed(f"no write of {names} went through its disk")
            yield
        finally:
            scene.cluster.start(names)

    return cut


# --- slow, full, broken ---------------------------------------------------------------------------


def _harmed(harm: Callable[[Scene, ShimmedDisk], None], *, restarted: bool = False) -> Harm:
    """The harm that does this to each disk, of nodes that run, or between kill and start. A node
    may end by itself because of it, if it says why; it is started again on a good disk, as by its
    supervisor. Raises Missed where no node has met it."""

    @asynccontextmanager
    async def harmed(scene: Scene, names: tuple[str, ...]) -> AsyncIterator[None]:
        disks = [disk_of(scene, name) for name in names]
        met = sum(disk.met for disk in disks)
        if restarted:
            await kill(scene, names)
        for disk in disks:
            harm(scene, disk)
        if restarted:
            scene.cluster.start(names)
        try:
            yield
            await _met(scene, names, met)
        finally:
            for disk in disks:
                disk.heal()
            await started_again(scene, names)

    return harmed


async def _met(scene: Scene, names: tuple[str, ...], before: int) -> None:
    """Waits until one of them has met its bad disk. Raises Missed where none does."""
    deadline = time.monotonic() + MET_SECS
    while sum(disk_of(scene, name).met for name in names) == before:
        if not any(scene.cluster.nodes[name].running for name in names):
            return  # another nemesis has ended them first
        if time.monotonic() > deadline:
            raise Missed(f"no node of {names} met its bad disk")
        await asyncio.sleep(LOOK_SECS)


async def started_again(scene: Scene, names: tuple[str, ...]) -> None:
    """Starts those that have ended by themselves; one that is still starting may have met its bad
    disk, and end in a moment. Raises AssertionError for one that did not say why."""
    await asyncio.sleep(ENDS_SECS)
    for name in names:
        node = scene.cluster.nodes[name]
        with suppress(NodeDied):
            await node.serving()
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
    often, aim = scene.chance.choice(_FAILING)
    disk.fail(writes=often, aim=aim)


def _failing_syncs(scene: Scene, disk: ShimmedDisk) -> None:
    often, aim = scene.chance.choice(_FAILING)
    disk.fail(syncs=often, aim=aim)


def _failing_reads(scene: Scene, disk: ShimmedDisk) -> None:
    often, aim = scene.chance.choice(_FAILING_READS)
    disk.fail(reads=often, aim=aim)


# --- the nemeses ----------------------------------------------------------------------------------

# For how long there is no power: some less than an election takes.
DARK_SECS = (0.0, 2.0)
BAD_SECS = (1.0, 5.0)
_MOST = (LEADER, FOLLOWER, MAJORITY, ALL)


def _bad(
    name: str, harm: Callable[[Scene, ShimmedDisk], None], targets: tuple[str, ...]
) -> Nemesis:
    return Nemesis(name, _harmed(harm), targets, NEEDS, BAD_SECS)


POWER_CUT = Nemesis("power cut", power_cut(), TARGETS, NEEDS, DARK_SECS)
# Exactly what was synced is left, of all of them: what Jepsen did to NATS.
BARE_POWER_CUT = Nemesis(
    "power cut, nothing unsynced left", power_cut(Left.NOTHING), (MAJORITY, ALL), NEEDS, DARK_SECS
)
SLOW_DISK = _bad("slow disk", _slow, _MOST)
STALLED_DISK = _bad("stalled disk", _stalled, _MOST)
FULL_DISK = _bad("full disk", _full, _MOST)
FULL_DISK_UNTOLD = _bad("full disk, untold", _full_untold, _MOST)
FAILING_WRITES = _bad("failing writes", _failing_writes, _MOST)
FAILING_SYNCS = _bad("failing syncs", _failing_syncs, _MOST)
# A node reads most when it starts.
FAILING_READS = Nemesis(
    *("failing reads", _harmed(_failing_reads, restarted=True), _MOST, NEEDS, BAD_SECS)
)

DISK_FAULTS = (
    *(POWER_CUT, BARE_POWER_CUT, SLOW_DISK, STALLED_DISK, FULL_DISK, FULL_DISK_UNTOLD),
    *(FAILING_WRITES, FAILING_SYNCS, FAILING_READS),
)
