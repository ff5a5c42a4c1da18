"""P1, P6: random walks of three and five nodes over crashes, lost disks, links and slow disks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.replication.group_rig import Group
from tests.unit.replication.group_walk import Walk


@pytest.mark.parametrize(("seed", "count"), [*((one, 3) for one in range(6)), (6, 5)])
def test_whatever_happens_what_was_answered_stays_and_all_come_to_agree(
    make_group: Callable[..., Group], seed: int, count: int
) -> None:
    walk = Walk(make_group(count), seed)
    walk.go(400)
    walk.rest()


def test_the_walks_see_what_they_are_for(make_group: Callable[..., Group]) -> None:
    walks = [Walk(make_group(), seed) for seed in range(5)]
    for walk in walks:
        walk.go(300)
    assert sum(walk.wiped for walk in walks) > 0
    assert sum(walk.transfers for walk in walks) > 0
    assert sum(len(walk.group.accepted()) for walk in walks) > 10
    assert max(node.raft.term for walk in walks for node in walk.group.nodes.values()) > 5
