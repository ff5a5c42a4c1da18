"""One flipped bit on one of three nodes, which makes its log shorter than what it acknowledged.

    n away dead:   submits --> leader, other     both killed
    one bit of other's log flips
    other, away start:   together they are a majority; only the leader has everything

A node that does not notice gives its vote to the one that was away, and both go on without what was
acknowledged. One that does counts for nothing, and both wait for the third.
"""

from __future__ import annotations

import asyncio
import random
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pysyncobj.journal import FIRST_RECORD_OFFSET, LAST_RECORD_OFFSET_OFFSET

from chaos.live.cluster import LiveCluster, NotWhole
from chaos.live.rot import FLIP, LOG_PLACES, damage
from chaos.live.stock_log import NAME
from taskq import AsyncClient

# Longer than some elections take.
NOBODY_SECS = 4.0
STATE_SECS = 20.0


@dataclass(frozen=True, slots=True)
class OneBit:
    """How it went. `waited`: nobody led until the third node was back; `lost`: ids that were
    acknowledged and are not there; `said`: the damaged node's log."""

    acknowledged: int
    lost: frozenset[str]
    waited: bool
    said: str


async def flip_one_bit(cluster: LiveCluster, shorten: Callable[[Path], None]) -> OneBit:
    """Carries it out on a cluster that was not started; `shorten` flips the bit in a data folder.
    Raises NotWhole, NodeDied."""
    cluster.start()
    await cluster.whole()
    acknowledged, leader, other, away = await _until_only_one_has_all(cluster)
    shorten(cluster.nodes[other].folder)
    cluster.start([other, away])
    waited = False
    try:
        await cluster.leader(timeout_secs=NOBODY_SECS)
    except NotWhole:
        waited = True
        cluster.start([leader])
        await cluster.whole()
    async with AsyncClient(cluster.url) as client:
        held = {str(view.id) async for view in client.tasks()}
    said = cluster.nodes[other].log_tail(20_000)
    return OneBit(len(acknowledged), frozenset(acknowledged - held), waited, said)


async def _until_only_one_has_all(cluster: LiveCluster) -> tuple[set[str], str, str, str]:
    """What was acknowledged by the leader and one follower while the other one was dead; all three
    are now. Their names, in this order."""
    leader = await cluster.leader()
    other, away = (name for name in cluster.nodes if name != leader)
    folder = cluster.nodes[other].folder
    async with AsyncClient(cluster.url) as client:
        acknowledged = await _submitted(client, 300)
        await cluster.same_index(still_secs=0.2)
        cluster.kill(away)  # paused, it would read later what waits in its sockets
        deadline = time.monotonic() + STATE_SECS
        while True:  # until the state was written just before these, and not since
            before = _written(folder)
            acknowledged |= await _submitted(client, 20)
            while _written(folder) == before:
                assert time.monotonic() < deadline, "the state is never written"
                await asyncio.sleep(0.005)
            before = _written(folder)
            acknowledged |= await _submitted(client, 50)
            if _written(folder) == before:
                break
        cluster.kill(leader, other)
    return acknowledged, leader, other, away


async def _submitted(client: AsyncClient, count: int) -> set[str]:
    handles = await asyncio.gather(*(client.submit("q", b"x" * 100) for _ in range(count)))
    return {str(handle.id) for handle in handles}


def _written(folder: Path) -> tuple[str, int]:
    """Changes with each write of the state, about once a second while something is new."""
    newest = max((folder / "state").glob("*.log"))
    return newest.name, newest.stat().st_size


# --- the bit --------------------------------------------------------------------------------------


def shorten_stock(folder: Path) -> None:
    """The highest bit of the number that tells where PySyncObj's journal ends: it looks as if it
    had been written no further."""
    path = folder / "log" / NAME
    content = bytearray(path.read_bytes())
    (end,) = struct.unpack_from("<I", content, LAST_RECORD_OFFSET_OFFSET)
    shorter = end ^ 1 << end.bit_length() - 1
    assert shorter >= FIRST_RECORD_OFFSET
    struct.pack_into("<I", content, LAST_RECORD_OFFSET_OFFSET, shorter)
    path.write_bytes(content)


def shorten_ours(folder: Path, seed: int = 1) -> None:
    """A bit of the length of a record in LevelDB's write-ahead file: LevelDB takes it for the end
    of the file."""
    (place,) = (one for one in LOG_PLACES if "length in a write-ahead" in one.name)
    assert damage(folder, place, FLIP, random.Random(seed)), "no record in the log"
