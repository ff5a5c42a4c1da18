"""One flipped bit on one of three nodes: PySyncObj's journal loses what was acknowledged, ours not.

The node whose log is shorter than it knows gives its vote to one that was away; together they are
a majority, and go on without what only the third one still has.
"""

from __future__ import annotations

import asyncio
import random
import struct
import time
from pathlib import Path

import pytest
from pysyncobj.journal import FIRST_RECORD_OFFSET, LAST_RECORD_OFFSET_OFFSET

from chaos.live.cluster import LiveCluster, NotWhole
from chaos.live.rot import FLIP, LOG_PLACES, damage
from chaos.live.stock_log import NAME
from chaos.live.stock_node import StockGround
from taskq import AsyncClient

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

# Longer than some elections take.
NOBODY_SECS = 4.0


def shortened(folder: Path) -> None:
    """Flips the highest bit of the number that tells where PySyncObj's journal ends: it looks as
    if it had been written no further."""
    path = folder / "log" / NAME
    content = bytearray(path.read_bytes())
    (end,) = struct.unpack_from("<I", content, LAST_RECORD_OFFSET_OFFSET)
    shorter = end ^ 1 << end.bit_length() - 1
    struct.pack_into("<I", content, LAST_RECORD_OFFSET_OFFSET, shorter)
    assert shorter >= FIRST_RECORD_OFFSET
    path.write_bytes(content)


def written(folder: Path) -> tuple[str, int]:
    """Changes with each write of the state, about once a second while something is new."""
    newest = max((folder / "state").glob("*.log"))
    return newest.name, newest.stat().st_size


async def submitted(client: AsyncClient, count: int) -> set[str]:
    handles = await asyncio.gather(*(client.submit("q", b"x" * 100) for _ in range(count)))
    return {str(handle.id) for handle in handles}


async def held(cluster: LiveCluster) -> set[str]:
    async with AsyncClient(cluster.url) as client:
        return {str(view.id) async for view in client.tasks()}


async def until_only_one_has_all(cluster: LiveCluster) -> tuple[set[str], str, str, str]:
    """What was acknowledged by the leader and one follower while the other one was dead; all three
    are now. Their names, in this order."""
    leader = await cluster.leader()
    other, away = (name for name in cluster.nodes if name != leader)
    folder = cluster.nodes[other].folder
    async with AsyncClient(cluster.url) as client:
        acknowledged = await submitted(client, 300)
        await cluster.same_index(still_secs=0.2)
        cluster.kill(away)  # paused, it would read later what waits in its sockets
        deadline = time.monotonic() + 20
        while True:  # until the state was written just before these, and not since
            before = written(folder)
            acknowledged |= await submitted(client, 20)
            while written(folder) == before:
                assert time.monotonic() < deadline, "the state is never written"
                await asyncio.sleep(0.005)
            before = written(folder)
            acknowledged |= await submitted(client, 50)
            if written(folder) == before:
                break
        cluster.kill(leader, other)
    return acknowledged, leader, other, away


async def test_the_journal_of_pysyncobj_goes_on_without_what_was_acknowledged(
    tmp_path: Path,
) -> None:
    with LiveCluster(tmp_path, ground=StockGround()) as cluster:
        cluster.start()
        await cluster.whole()
        acknowledged, _, other, away = await until_only_one_has_all(cluster)
        shortened(cluster.nodes[other].folder)
        cluster.start([other, away])
        assert await cluster.leader()
        assert acknowledged - await held(cluster)


async def test_ours_waits_for_the_node_that_has_it(tmp_path: Path) -> None:
    with LiveCluster(tmp_path) as cluster:
        cluster.start()
        await cluster.whole()
        acknowledged, leader, other, away = await until_only_one_has_all(cluster)
        (place,) = (one for one in LOG_PLACES if "length in a write-ahead" in one.name)
        assert damage(cluster.nodes[other].folder, place, FLIP, random.Random(1))
        cluster.start([other, away])
        with pytest.raises(NotWhole, match="nobody leads"):
            await cluster.leader(timeout_secs=NOBODY_SECS)
        cluster.start([leader])
        await cluster.whole()
        assert await held(cluster) == acknowledged
        assert "does not vote" in cluster.nodes[other].log_tail(20_000)
