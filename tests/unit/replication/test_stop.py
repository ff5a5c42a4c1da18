"""A clean stop of a member: the others end what it proposed, and nothing else is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cluster.replication.driver import STOP_SECS
from taskq.errors import Refusal
from tests.unit.replication.group_rig import Group
from tests.unit.replication.rig import Rig

MakeGroup = Callable[[], Group]


def stopping(node: Rig) -> asyncio.Task[None]:
    """Its stop has begun."""
    task = node.loop.create_task(node.driver.stop())
    node.loop.settle()
    return task


def test_what_a_leader_proposed_is_acknowledged_while_it_stops(make_group: MakeGroup) -> None:
    group = make_group()
    leader = group.elect("n1")
    for one in ("n2", "n3"):
        group.hold(one, "n1")
    leader.submit(1)
    group.flow()
    task = stopping(leader)
    group.let_go("n2", "n1")
    group.tick(STOP_SECS / 10, steps=20)
    assert task.done()
    assert leader.accepted() == {1}
    group.down.add("n1")


def test_what_a_leader_proposed_without_others_ends_as_unknown(make_group: MakeGroup) -> None:
    group = make_group()
    leader = group.elect("n1")
    group.isolate("n1")
    leader.submit(1)
    task = stopping(leader)
    group.tick(STOP_SECS * 1.1, steps=100)
    assert task.done()
    assert isinstance(leader.answers[1], Refusal)
    assert leader.answers[1].unknown
    group.down.add("n1")


def test_a_follower_that_stops_takes_in_nothing_more(make_group: MakeGroup) -> None:
    group = make_group()
    leader, follower = group.elect("n1"), group["n2"]
    group.slow.add("n2")
    group.submit("n1", [1, 2])  # one is being written, the other waits for that
    task = stopping(follower)
    last = follower.journal.last_index
    group.submit("n1", [3])
    assert follower.journal.last_index == last
    assert leader.accepted() == {1, 2, 3}
    while not task.done():
        group.loop.now += 0.001
        group.flow()
        follower.log.finish()
        follower.state.finish()
    assert follower.disk.head.last == last
    group.down.add("n2")


def test_the_state_stays_behind_a_log_that_is_not_written_in_time(make_group: MakeGroup) -> None:
    """Durability `interval`: what is applied may be ahead of what is on disk (A2)."""
    group = make_group()
    group.elect("n1")
    follower = group["n2"]
    follower._sync_interval_secs = 0.1
    group.crash("n2")
    group.restart("n2")
    group.tick(0.5, steps=5)
    group.slow.add("n2")
    for tag in range(1, 5):
        group.submit("n1", [tag])
        group.tick(0.1)
    assert follower.raft.applied_index > follower.journal.synced_index
    assert follower.log.waiting, "the disk has taken the first of them and says nothing"
    task = stopping(follower)
    group.tick(STOP_SECS * 1.1, steps=100)
    while not task.done():
        follower.log.finish()
        follower.state.finish()
        group.tick(0.01)
    task.result()
    follower.check()
    assert follower.disk.state_index <= follower.disk.head.last < follower.raft.applied_index
    group.down.add("n2")
