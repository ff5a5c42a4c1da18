"""Harm by data at rest: bits flip and files are cut, in the folders of a minority.

A node that finds it says so, sets aside what it cannot trust, counts for nothing until it has
caught up, and gets it from the others.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chaos.live.ground import FOLDER
from chaos.live.nemesis import FOLLOWER, LEADER, MINORITY, Harm, Nemesis, Scene
from chaos.live.process_faults import kill
from chaos.live.rot import CUT, FLIP, IDENTITY, PLACES, Damage, damage

NEEDS = frozenset({FOLDER})
WHOM = (LEADER, FOLLOWER, MINORITY)
# How many places of a folder are damaged.
COUNTS = (1, 1, 1, 2, 4)
REFUSAL_SECS = 20.0
# A place may not be there just now: no table yet, no record.
ATTEMPTS_MAX = 20


def _rotten(how: str, *, running: bool) -> Harm:
    """The harm that damages some places of each folder, of nodes that run (and are killed and
    started at the end, so that they meet it), or between kill and start. What nobody has met when
    all is whole again is mended: with the damage of the next strike it would be a majority's."""

    @asynccontextmanager
    async def rotten(scene: Scene, names: tuple[str, ...]) -> AsyncIterator[None]:
        if not running:
            await kill(scene, names)
        done = [one for name in names for one in await asyncio.to_thread(rot, scene, name, how)]
        try:
            yield
        finally:
            alive = tuple(name for name in names if scene.cluster.nodes[name].running)
            if running:
                await kill(scene, alive)
            scene.cluster.start(names)
            await scene.cluster.whole()
            for one in done:
                one.mend()

    return rotten


def rot(scene: Scene, name: str, how: str) -> list[Damage]:
    """Damages some places of this node's folder; what was done. Written to damage.txt beside it,
    for whoever looks into a run that went wrong. Raises AssertionError where nothing could be
    damaged."""
    node = scene.cluster.nodes[name]
    done: list[Damage] = []
    count = scene.chance.choice(COUNTS)
    for _ in range(ATTEMPTS_MAX):
        if len(done) == count:
            break
        place = scene.chance.choice(PLACES)
        if what := damage(node.folder, place, how, scene.chance):
            done.append(what)
    assert done, f"nothing of {name} could be damaged"
    with (node.home / "damage.txt").open("a") as notes:
        notes.writelines(f"{time.time():.3f} {one}\n" for one in done)
    return done


@asynccontextmanager
async def identity_lost(scene: Scene, names: tuple[str, ...]) -> AsyncIterator[None]:
    """Killed, and nobody can read whose folder it is: the node refuses it, says so, and changes
    nothing. It gets an empty one at the end, as from its operator."""
    await kill(scene, names)
    nodes = [scene.cluster.nodes[name] for name in names]
    for node in nodes:
        assert damage(node.folder, IDENTITY, scene.chance.choice((FLIP, CUT)), scene.chance)
        node.spawn()
    yield
    for name, node in zip(names, nodes, strict=True):
        await asyncio.to_thread(node.wait, REFUSAL_SECS)
        assert node.returncode == 1, f"{name} took a folder that nobody can tell the owner of"
        assert "identity" in node.log_tail()
        await asyncio.to_thread(scene.cluster.wipe, name)
    scene.cluster.start(names)


AWAY_SECS = (0.1, 2.0)

BIT_FLIPS = Nemesis("flipped bits", _rotten(FLIP, running=False), WHOM, NEEDS, AWAY_SECS)
BIT_FLIPS_LIVE = Nemesis("flipped bits, live", _rotten(FLIP, running=True), WHOM, NEEDS, AWAY_SECS)
CUT_FILES = Nemesis("cut files", _rotten(CUT, running=False), WHOM, NEEDS, AWAY_SECS)
CUT_FILES_LIVE = Nemesis("cut files, live", _rotten(CUT, running=True), WHOM, NEEDS, AWAY_SECS)
IDENTITY_LOST = Nemesis("unreadable identity", identity_lost, WHOM, NEEDS, AWAY_SECS)

ROT_FAULTS = (BIT_FLIPS, BIT_FLIPS_LIVE, CUT_FILES, CUT_FILES_LIVE, IDENTITY_LOST)
