"""Real nodes on disks that lose power and fail: what was acknowledged stays, where a node's log is
ours; PySyncObj's own is found out."""

from __future__ import annotations

import asyncio
import faulthandler
import random
from pathlib import Path

import pytest

from chaos.live.ground import Ground
from chaos.live.node import LiveNode
from chaos.live.power import Left, cut_power
from chaos.live.stock import acknowledged, power_fails
from chaos.live.stock_node import StockGround
from taskq import AsyncClient
from tests.integration.chaos.disk_writer import shimmed

pytestmark = pytest.mark.slow

# So small that tables are written and old files removed between two cuts.
CUTTING = {"persistence.checkpoint_log_bytes": 65_536, "persistence.compact_interval_secs": 1}


SEED = 20261122


async def submitted(node: LiveNode, count: int, chance: random.Random) -> set[str]:
    """So many tasks more, some of them at once."""
    async with AsyncClient(node.url) as client:
        handles = []
        for _ in range(count // 20):
            one = (client.submit("q", chance.randbytes(600)) for _ in range(20))
            handles += await asyncio.gather(*one)
        return {str(handle.id) for handle in handles}


async def held(node: LiveNode) -> set[str]:
    async with AsyncClient(node.url) as client:
        return {str(view.id) async for view in client.tasks()}


async def test_a_node_comes_back_from_power_cuts_with_all_that_it_acknowledged(
    tmp_path: Path,
) -> None:
    chance = random.Random(1)
    shimmed(tmp_path / "probe")  # skips where nothing can be compiled
    with LiveNode(tmp_path, CUTTING) as node:
        disk = node.equip()
        kept: set[str] = set()
        lost = 0
        for left in (Left.NOTHING, Left.SOME, Left.SOME):
            node.spawn()
            await node.serving()
            kept |= await submitted(node, 600, chance)
            node.kill()
            done = cut_power(disk, chance, left)
            lost += done.files + done.names
        assert lost, "nothing was ever unsynced: was there a cut?"
        node.spawn()
        await node.serving()
        assert await held(node) == kept


@pytest.fixture
def home(tmp_path: Path) -> Path:
    # Longer than the time after which every stack is printed; `timeout` still does it.
    faulthandler.cancel_dump_traceback_later()
    shimmed(tmp_path / "probe")  # skips where nothing can be compiled
    return tmp_path


@pytest.mark.timeout(120)
async def test_the_journal_of_pysyncobj_loses_what_was_acknowledged_when_the_power_fails(
    home: Path,
) -> None:
    _, verdict = await power_fails(home, StockGround(), SEED)
    assert verdict.by_rule().get("acknowledged_submits", 0) > 0


@pytest.mark.timeout(120)
async def test_ours_loses_nothing_in_the_same_run(home: Path) -> None:
    history, verdict = await power_fails(home, Ground(), SEED)
    assert verdict.violations == []
    assert acknowledged(history) > 100
