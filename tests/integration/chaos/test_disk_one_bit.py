"""One flipped bit on one node: PySyncObj's journal loses what it acknowledged, ours does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.live.cluster import LiveCluster
from chaos.live.one_bit import flip_one_bit, shorten_ours, shorten_stock
from chaos.live.stock_node import StockGround

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


async def test_the_journal_of_pysyncobj_goes_on_without_what_was_acknowledged(
    tmp_path: Path,
) -> None:
    with LiveCluster(tmp_path, ground=StockGround()) as cluster:
        outcome = await flip_one_bit(cluster, shorten_stock)
    assert not outcome.waited
    assert outcome.lost


async def test_ours_waits_for_the_node_that_has_it(tmp_path: Path) -> None:
    with LiveCluster(tmp_path) as cluster:
        outcome = await flip_one_bit(cluster, shorten_ours)
    assert outcome.waited
    assert outcome.lost == frozenset()
    assert "does not vote" in outcome.said
