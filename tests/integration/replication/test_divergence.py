"""A14: a member whose state is not that of the others stops, and comes back without it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cluster.replication.digests import WINDOW
from cluster.replication.leading import StateDiverged
from cluster.replication.replica import Replica
from cluster.replication.status import DIFFERS
from cluster.storage.errors import StorageFailed
from tests.integration.replication.group import Members, members, until


def spoil(replica: Replica) -> None:
    """What the next entry writes there is something else."""
    core = replica._core
    assert core is not None
    core.applier.digests.digest ^= 1


def digests(group: Members) -> set[tuple[int, int]]:
    """Of all that run: (index, digest) of what they last compared."""
    cores = [one._core for one in group.replicas.values()]
    return {core.applier.digests.latest for core in cores if core is not None}


async def ended(replica: Replica) -> None:
    """Waits until the node says that it cannot go on."""
    async with asyncio.timeout(10):
        await replica.stopped.wait()
    assert isinstance(replica.fatal, StateDiverged)


@pytest.mark.parametrize("leads", [False, True])
async def test_a_member_that_differs_ends_and_is_given_log_and_state_anew(
    tmp_path: Path, leads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with members(tmp_path) as group:
        await group.submit(1)
        victim = await (group.leader() if leads else group.follower())
        folder = group.folder(victim.node_id)
        spoil(victim)
        await group.submit(*range(2, 2 + WINDOW))
        await ended(victim)
        kept = sorted(one.name.rpartition("-")[2] for one in (folder / "set-aside").iterdir())
        assert kept == ["log", "state"], "nobody reads again what may be spoilt"
        await group.stop(victim.node_id)
        await group.submit(100)
        await group.start(victim.node_id)
        await group.submit(*range(200, 200 + WINDOW))
        await group.all_hold(1, 100, 200)
        await until(lambda: len(digests(group)) == 1 and digests(group) != {(0, 0)})
        await asyncio.sleep(0.7)  # two heartbeats
        assert all(one.fatal is None for one in group.replicas.values())


async def test_a_disk_that_hangs_keeps_no_state_that_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is set aside as soon as the disk lets it."""
    async with members(tmp_path) as group:
        victim = await group.follower()
        directory = group._directories[victim.node_id]
        full = [StorageFailed("no space left on device")] * 2
        mark = directory.mark_state_lost

        def refuse() -> Path | None:
            if full:
                raise full.pop()
            return mark()

        monkeypatch.setattr(directory, "mark_state_lost", refuse)
        spoil(victim)
        await group.submit(*range(2, 2 + WINDOW))
        await ended(victim)
        assert not full
        assert not directory.state.exists()


async def test_one_against_one_goes_on_and_says_so(tmp_path: Path) -> None:
    async with members(tmp_path) as group:
        await group.submit(1)
        leader, other = await group.leader(), await group.follower()
        (third,) = set(group.replicas) - {leader.node_id, other.node_id}
        await group.stop(third)
        spoil(other)
        await group.submit(*range(2, 2 + WINDOW))

        def state(asked: Replica, of: Replica) -> str:
            views = asked.cluster_status().members
            return next(one.state for one in views if one.node_id == of.node_id)

        await until(lambda: state(leader, other) == DIFFERS.format(leader.node_id))
        assert state(leader, leader) == DIFFERS.format(other.node_id)
        await until(lambda: state(other, leader) == DIFFERS.format(other.node_id))
        assert other.fatal is leader.fatal is None
        await group.start(third)
        await ended(other)
