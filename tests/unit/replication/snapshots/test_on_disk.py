"""The same two ends over the real storage: what is installed is what was exported, also after a
crash at the worst moments. The executor is a desk, so that no thread runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.replication.snapshots.messages import Chunk, Installed, Taken
from cluster.replication.snapshots.receiver import SnapshotReceiver
from cluster.replication.snapshots.sender import SnapshotSender
from cluster.storage.directory import DataDirectory
from cluster.storage.member_stores import MemberStores
from tests.unit.replication.snapshots.rig import Node, World

PAIRS = {b"%05d" % n: (b"%d" % n).ljust(900, b".") for n in range(1500)}


class Folder:
    """A data folder, its stores open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.directory = DataDirectory.open(path, path.name)
        self.stores: MemberStores = self.directory.open_member_stores(listed=True)

    def reopen(self) -> None:
        self.stores.log.close()
        self.stores.state.close()
        self.stores = self.directory.open_member_stores(listed=True)

    def pairs(self) -> dict[bytes, bytes]:
        return dict(self.stores.state.iterate())

    def close(self) -> None:
        self.stores.log.close()
        self.stores.state.close()
        self.directory.close()


class Pair:
    """A leader with `PAIRS` at index 40 and an empty follower, both on disk, in a `World`."""

    def __init__(self, world: World, path: Path) -> None:
        self.world = world
        self.leader, self.follower = Folder(path / "n1"), Folder(path / "n2")
        self.leader.stores.state.write(PAIRS, 40, (3, 4), 404)
        self.ready: list[int] = []
        world.loop.run_until_complete(self._join(*world.nodes.values()))

    async def _join(self, leader: Node, follower: Node) -> None:
        """The nodes of the world get the real storage."""
        leader.exchange.sender = leader.sender = SnapshotSender(
            leader.send,
            self.leader.stores.state.export,
            leader.desk,
            on_installed=lambda peer, index: leader.events.append(("installed", peer, index)),
            on_ended=lambda *ended: leader.events.append(("ended", *ended)),
            on_failure=lambda error: leader.events.append(("failure", error)),
            thread_secs=lambda: 0.0,  # the loop's time is the world's
        )
        follower.exchange.receiver = follower.receiver = SnapshotReceiver(
            follower.send,
            self.follower.directory.begin_state,
            follower.desk,
            lambda: self.follower.stores.state.index,
            on_ready=self.ready.append,
            on_life=follower.on_life,
            on_failure=lambda error: follower.events.append(("failure", error)),
        )


@pytest.fixture
def pair(tmp_path: Path, make_world: Callable[..., World]) -> Iterator[Pair]:
    """See `Pair`."""
    made = Pair(make_world(), tmp_path)
    yield made
    made.leader.close()
    made.follower.close()


def test_what_is_installed_is_what_was_exported(pair: Pair) -> None:
    world = pair.world
    leader, follower = world.nodes.values()
    leader.sender.begin("n2", 5)
    world.run(until=lambda: len(world.said(Taken)) == 2)
    pair.leader.stores.state.write({b"later": b"", b"00001": None}, 41, (4, 4), 414)
    world.run()
    assert pair.ready == [40]
    assert pair.follower.pairs() == {}, "not before it is opened again"
    assert leader.events == []
    pair.follower.reopen()
    follower.receiver.installed()
    world.run()
    assert pair.follower.pairs() == PAIRS
    state = pair.follower.stores.state
    assert (state.index, state.terms, state.digest) == (40, (3, 4), 404)
    assert pair.follower.stores.loss == ""
    assert leader.events == [("installed", "n2", 40)]
    world.loop.run_until_complete(leader.sender.close())


def test_a_crash_before_the_end_leaves_nothing(pair: Pair) -> None:
    world = pair.world
    world.nodes["n1"].sender.begin("n2", 5)
    world.run(until=lambda: len(world.said(Taken)) == len(world.said(Chunk)) == 6)
    pair.follower.reopen()
    assert pair.follower.pairs() == {}
    assert pair.follower.stores.state.index == 0
    assert pair.ready == []


def test_a_crash_after_it_was_synced_has_installed_it(pair: Pair) -> None:
    world = pair.world
    world.nodes["n1"].sender.begin("n2", 5)
    world.run()
    assert pair.ready == [40]
    assert world.said(Installed) == []
    pair.follower.reopen()
    assert pair.follower.pairs() == PAIRS


def test_what_was_dismissed_is_not_found_at_the_next_start(pair: Pair) -> None:
    world = pair.world
    follower = world.nodes["n2"]
    world.nodes["n1"].sender.begin("n2", 5)
    world.run()
    follower.receiver.dismiss()
    world.run()
    assert follower.receiver.held_index is None
    pair.follower.reopen()
    assert pair.follower.pairs() == {}


def test_a_second_try_starts_on_a_clean_floor(pair: Pair) -> None:
    world = pair.world
    leader, follower = world.nodes.values()
    leader.sender.begin("n2", 5)
    world.run(until=lambda: len(world.said(Taken)) == 3)
    gone = dict.fromkeys(list(PAIRS)[:700])
    pair.leader.stores.state.write(gone, 45, (4, 4), 454)
    world.cut("n1", "n2")
    world.advance(1)
    assert pair.ready == [45]
    pair.follower.reopen()
    follower.receiver.installed()
    world.run()
    assert pair.follower.pairs() == {key: PAIRS[key] for key in PAIRS if key not in gone}
    assert leader.events == [("installed", "n2", 45)]
