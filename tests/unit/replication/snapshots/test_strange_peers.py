"""Repeated, misplaced and hostile messages end a stream, and nothing more than that."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable

import pytest

from cluster.replication.snapshots.messages import (
    Begin,
    Chunk,
    End,
    Installed,
    Message,
    Stop,
    Stream,
    Taken,
    Why,
    encode,
)
from taskq.pairs import pack_pair
from tests.unit.replication.snapshots.rig import World

STREAM = Stream(5, 1)
OLDER, NEWER = Stream(4, 9), Stream(5, 2)
BEGIN = Begin(STREAM, 1, 40, (1, 1), 0)
PAIR = pack_pair(b"key", b"value")


def whys(world: World) -> list[Why]:
    return [stop.why for stop in world.said(Stop)]


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([Chunk(STREAM, 0, PAIR)], Why.OUT_OF_ORDER),
        ([End(STREAM, 0, 0)], Why.OUT_OF_ORDER),
        ([BEGIN, Chunk(STREAM, 1, PAIR)], Why.OUT_OF_ORDER),
        ([BEGIN, Chunk(STREAM, 0, PAIR), Chunk(STREAM, 0, PAIR)], Why.OUT_OF_ORDER),
        ([BEGIN, Chunk(NEWER, 0, PAIR)], Why.OUT_OF_ORDER),
        ([BEGIN, End(STREAM, 1, 0)], Why.OUT_OF_ORDER),
        ([BEGIN, Chunk(STREAM, 0, PAIR), End(STREAM, 1, 0)], Why.MALFORMED),
        ([BEGIN, Chunk(STREAM, 0, b"no pairs")], Why.MALFORMED),
        ([BEGIN, BEGIN], Why.OUT_OF_ORDER),
        ([Begin(OLDER, 1, 40, (1, 1), 0)], Why.OTHER_TERM),
        ([Begin(STREAM, 2, 40, (1, 1), 0)], Why.OTHER_FORMAT),
        ([Begin(STREAM, 1, 40, (1, STREAM.term + 1), 0)], Why.MALFORMED),
    ],
)
def test_what_is_out_of_order_installs_nothing(
    world: World, messages: list[Message], why: Why
) -> None:
    follower = world.nodes["n2"]
    for message in messages:
        world.put("n1", "n2", message)
    world.run()
    assert why in whys(world)
    assert follower.events == []
    assert follower.pairs == {}


def test_nothing_may_come_behind_the_end(world: World) -> None:
    follower = world.nodes["n2"]
    follower.desk.held = True
    end = End(STREAM, 1, zlib.crc32(PAIR))
    for message in (BEGIN, Chunk(STREAM, 0, PAIR), end, Chunk(STREAM, 1, PAIR)):
        world.put("n1", "n2", message)
    world.run()
    assert whys(world) == [Why.OUT_OF_ORDER]
    follower.desk.held = False
    world.run()
    assert follower.events == []


def test_an_end_that_comes_twice_changes_nothing(world: World) -> None:
    leader, follower = world.nodes.values()
    leader.sender.begin("n2", 5)
    world.run(until=lambda: bool(world.said(End)))
    world.put("n1", "n2", world.said(End)[0])
    world.advance(1)
    assert follower.events == [("ready", 40)]
    assert follower.pairs == leader.pairs


def test_another_node_cannot_speak_for_the_leader(make_world: Callable[..., World]) -> None:
    world = make_world("n1", "n2", "n3")
    leader, follower, other = world.nodes.values()
    leader.sender.begin("n2", 5)
    world.run(until=lambda: len(world.said(Taken)) == 2)
    for message in (
        Chunk(STREAM, 2, PAIR),
        Stop(STREAM, Why.ENDED, 0),
        End(STREAM, 0, 0),
        Taken(STREAM, 0),
    ):
        world.put("n3", "n2", message)
        world.put("n3", "n1", message)
    world.run()
    assert follower.pairs == leader.pairs
    assert leader.events == [("installed", "n2", 40)]
    assert other.events == []


def test_a_newer_begin_replaces_the_older(world: World) -> None:
    follower = world.nodes["n2"]
    for message in (BEGIN, Chunk(STREAM, 0, PAIR), Begin(NEWER, 1, 50, (1, 1), 0)):
        world.put("n1", "n2", message)
    world.run()
    assert follower.building is not None
    assert (follower.building.index, follower.building.pairs) == (50, {})
    world.put("n1", "n2", BEGIN)
    world.run()
    assert whys(world) == [Why.OUT_OF_ORDER]
    assert follower.building.index == 50


@pytest.mark.parametrize(
    "answer",
    [
        Taken(STREAM, 6),
        Taken(STREAM, 1),
        Installed(STREAM, 40),
        Stop(STREAM, Why.OUT_OF_ORDER, 0),
    ],
)
def test_an_answer_that_cannot_be_breaks_the_stream(world: World, answer: Message) -> None:
    leader, follower = world.nodes.values()
    leader.sender.begin("n2", 5)
    world.run(until=lambda: len(world.said(Chunk)) == 1)
    world.put("n2", "n1", answer)
    world.run(until=lambda: leader.sender.held_index is None)
    assert world.said(End) == [], "not at once"
    assert leader.events == []
    world.advance(1)
    assert follower.pairs == leader.pairs


def test_installed_with_another_index_is_not_believed(world: World) -> None:
    leader, follower = world.nodes.values()
    follower.installs = False
    leader.sender.begin("n2", 5)
    world.run()
    world.put("n2", "n1", Installed(STREAM, 41))
    world.run()
    assert leader.events == []
    assert leader.sender.held_index is None


def test_other_formats_are_final(world: World) -> None:
    leader = world.nodes["n1"]
    leader.sender.begin("n2", 5)
    world.put("n2", "n1", Stop(STREAM, Why.OTHER_FORMAT, 3))
    world.run(until=lambda: bool(leader.events))
    assert leader.events == [("ended", "n2", Why.OTHER_FORMAT, 3)]


def test_who_cannot_read_the_format_is_asked_once_for_each_connection(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leader finds each time that its log does not reach back far enough (A11)."""
    monkeypatch.setattr("cluster.replication.snapshots.receiver.FORMAT", 0)
    leader, follower = world.nodes.values()
    leader.on_ended = lambda peer: leader.sender.begin(peer, 5)
    leader.sender.begin("n2", 5)
    world.advance(100)
    assert leader.events == [("ended", "n2", Why.OTHER_FORMAT, 0)]
    assert len(world.said(Begin)) == 1
    assert leader.sender.peers == {"n2"}
    world.cut("n1", "n2")
    world.advance(100)
    assert len(world.said(Begin)) == 2
    monkeypatch.undo()
    world.cut("n1", "n2")
    world.advance(1)
    assert follower.pairs == leader.pairs


@pytest.mark.parametrize("data", [b"", b"\xc1", b"cos\nsystem\n(S'true'\ntR.", b"\x93\x02\x92"])
def test_hostile_bytes_end_the_stream(world: World, data: bytes) -> None:
    leader, follower = world.nodes.values()
    leader.sender.begin("n2", 5)
    world.run(until=lambda: len(world.said(Taken)) == 2)
    leader.exchange.receive("n2", data, 5)
    follower.exchange.receive("n1", data, 5)
    assert leader.sender.held_index is None
    assert whys(world) == [Why.MALFORMED, Why.MALFORMED]
    world.run()
    assert follower.building is None
    world.advance(1)
    assert follower.pairs == leader.pairs


def test_noise_between_honest_messages_breaks_nothing_else(
    make_world: Callable[..., World],
) -> None:
    """Any message at any time, from the peer itself: a state arrives that is the leader's, or none
    does."""
    installed = 0
    for seed in range(200):
        chance = random.Random(seed)
        world = make_world()
        leader, follower = world.nodes.values()
        leader.fill(index=40, count=800)
        leader.sender.begin("n2", 5)
        for _ in range(chance.randint(1, 4)):
            streams = [STREAM, NEWER, OLDER, Stream(5, 3)]
            stream = chance.choice(streams)
            noise = chance.choice(
                [
                    Begin(stream, 1, chance.randint(1, 50), (1, 1), 0),
                    Chunk(stream, chance.randint(0, 4), PAIR),
                    End(stream, chance.randint(0, 4), 0),
                    Taken(stream, chance.randint(0, 4)),
                    Installed(stream, chance.randint(39, 41)),
                    Stop(stream, chance.choice(list(Why)), 0),
                ]
            )
            count = chance.randint(0, 12)
            world.run(until=lambda world=world, count=count: len(world.log) >= count)
            world.put(*chance.choice([("n1", "n2"), ("n2", "n1")]), noise)
            if chance.random() < 0.2:
                garbled = bytearray(encode(noise))
                garbled[chance.randrange(len(garbled))] ^= 1 << chance.randrange(8)
                node, peer = chance.choice([(leader, "n2"), (follower, "n1")])
                node.exchange.receive(peer, bytes(garbled), 5)
        world.advance(2)
        if follower.index == 40:
            assert follower.pairs in (leader.pairs, {b"key": b"value"}), seed
            installed += follower.pairs == leader.pairs
        assert not [event for event in follower.events if event[0] == "failure"], seed
        leader.sender.end_all()
        follower.receiver.offended("n1")
        world.run()
        assert leader.exports_open == 0
    assert installed > 100
