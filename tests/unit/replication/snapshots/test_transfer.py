"""A state arrives whole, or not at all: two or three real ends, joined, and what may go wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.replication.snapshots.messages import (
    Begin,
    Chunk,
    End,
    Installed,
    Stop,
    Stream,
    Taken,
    Why,
)
from cluster.replication.snapshots.sender import PATIENCE_SECS, PAUSE_SECS
from cluster.replication.snapshots.window import CHUNK_SIZE, COUNT_MAX, SIZE_MAX
from cluster.storage.errors import DataDamaged, StorageFailed
from tests.unit.replication.snapshots.rig import Node, World, ends

MakeWorld = Callable[..., World]


def at_rest(world: World) -> None:
    """Nothing is held, anywhere."""
    for node in world.nodes.values():
        assert node.exports_open == 0
        assert node.building is None
        assert node.sender.held_index is None
        assert node.receiver.held_index is None
        assert node.sender.peers == frozenset()


def arrived(leader: Node, follower: Node) -> bool:
    """The follower has the leader's state and nothing else."""
    return (follower.pairs, follower.index) == (leader.pairs, leader.index)


# --- what works -----------------------------------------------------------------------------------


def test_a_state_arrives_whole(world: World) -> None:
    leader, follower = world.nodes.values()
    leader.sender.begin("n2", 5)
    world.run()
    assert arrived(leader, follower)
    assert follower.events == [("ready", 40)]
    assert leader.events == [("installed", "n2", 40)]
    (begin,) = world.said(Begin)
    assert (begin.stream, begin.index, begin.terms) == (Stream(5, 1), 40, (1, 1))
    assert len(world.said(Chunk)) == len(world.said(Taken)) == 7
    at_rest(world)


def test_a_state_without_pairs_arrives(world: World) -> None:
    leader, follower = world.nodes.values()
    leader.fill(index=9, count=0)
    leader.sender.begin("n2", 5)
    world.run()
    assert arrived(leader, follower)
    assert leader.events == [("installed", "n2", 9)]


def test_what_changes_meanwhile_is_not_in_it(world: World) -> None:
    leader, follower = world.nodes.values()
    before = dict(leader.pairs)
    leader.sender.begin("n2", 5)
    world.run(until=lambda: len(world.said(Chunk)) == 2)
    assert leader.sender.held_index == 40
    leader.fill(index=41, count=10)
    world.run()
    assert (follower.pairs, follower.index) == (before, 40)


def test_the_leader_is_alive_with_every_part(world: World) -> None:
    leader, follower = world.nodes.values()
    leader.sender.begin("n2", 5)
    world.run()
    assert follower.lives == len(world.said(Begin) + world.said(Chunk) + world.said(End))


def test_said_twice_it_is_begun_once(world: World) -> None:
    leader = world.nodes["n1"]
    leader.sender.begin("n2", 5)
    world.run(until=lambda: len(world.said(Taken)) == 2)
    leader.sender.begin("n2", 5)
    world.run()
    assert len(world.said(Begin)) == 1


def test_nothing_is_cut_while_the_state_is_opened(world: World) -> None:
    leader = world.nodes["n1"]
    leader.desk.held = True
    leader.sender.begin("n2", 5)
    world.run()
    assert leader.sender.held_index == 0


# --- windows --------------------------------------------------------------------------------------


def test_a_slow_receiver_is_never_more_than_a_window_behind(world: World) -> None:
    leader, follower = world.nodes.values()
    follower.desk.held = True
    leader.sender.begin("n2", 5)
    world.run()
    sent = world.said(Chunk)
    assert len(sent) == COUNT_MAX - 1  # each is a little more than aimed at
    assert sum(len(chunk.data) for chunk in sent) <= SIZE_MAX
    follower.desk.held = False
    world.run()
    assert arrived(leader, follower)


def test_a_window_is_filled_but_not_exceeded_by_small_chunks(world: World) -> None:
    leader, follower = world.nodes.values()
    leader.pairs = {b"%03d" % n: bytes(CHUNK_SIZE - 11) for n in range(20)}
    follower.desk.held = True
    leader.sender.begin("n2", 5)
    world.run()
    assert [len(chunk.data) for chunk in world.said(Chunk)] == [CHUNK_SIZE] * COUNT_MAX
    follower.desk.held = False
    world.run()
    assert arrived(leader, follower)


def test_a_large_record_goes_alone(world: World) -> None:
    leader, follower = world.nodes.values()
    leader.pairs = {b"%03d" % n: bytes(8 * SIZE_MAX) for n in range(3)}
    follower.desk.held = True
    leader.sender.begin("n2", 5)
    world.run()
    assert len(world.said(Chunk)) == 1
    follower.desk.held = False
    world.run()
    assert arrived(leader, follower)


def test_more_than_a_window_is_not_held(world: World) -> None:
    follower = world.nodes["n2"]
    follower.desk.held = True
    stream = Stream(5, 1)
    world.put("n1", "n2", Begin(stream, 1, 40, (1, 1), 0))
    for sequence in range(COUNT_MAX + 1):
        world.put("n1", "n2", Chunk(stream, sequence, b"x"))
    world.run()
    assert [stop.why for stop in world.said(Stop)] == [Why.OUT_OF_ORDER]


def test_reading_rests_twice_as_long_as_it_kept_a_processor(world: World) -> None:
    leader, follower = world.nodes.values()
    leader.read_secs = 0.2
    leader.sender.begin("n2", 5)
    world.run(until=lambda: bool(world.said(Begin)))
    leader.desk.held = True
    world.run()
    world.loop.now += 5.0  # in which it waited, and others had the processor
    leader.desk.held = False
    world.run()
    assert len(world.said(Chunk)) == 1
    leader.read_secs = 0.0
    world.loop.now += 0.39
    world.run()
    assert len(world.said(Chunk)) == 1
    world.loop.now += 0.02
    world.run()
    assert arrived(leader, follower)


# --- several peers --------------------------------------------------------------------------------


def test_two_at_once_and_the_third_waits(make_world: MakeWorld) -> None:
    world = make_world("n1", "n2", "n3", "n4")
    leader, *followers = world.nodes.values()
    for follower in followers:
        leader.sender.begin(follower.name, 5)
    world.run(until=lambda: len(world.said(Chunk)) == 4)
    assert leader.exports_open == 2
    assert [begin.stream.number for begin in world.said(Begin)] == [1, 2]
    assert leader.sender.peers == {"n2", "n3", "n4"}
    world.run()
    assert all(arrived(leader, follower) for follower in followers)
    at_rest(world)


def test_the_older_of_two_holds_the_log(make_world: MakeWorld) -> None:
    world = make_world("n1", "n2", "n3")
    leader = world.nodes["n1"]
    leader.sender.begin("n2", 5)
    world.run(until=lambda: len(world.said(Chunk)) == 1)
    leader.fill(index=50, count=1600)
    leader.sender.begin("n3", 5)
    world.run(until=lambda: len(world.said(Begin)) == 2)
    assert leader.sender.held_index == 40
    world.run(until=lambda: bool(world.said(Installed)))
    world.run(until=lambda: leader.sender.held_index != 40)
    assert leader.sender.held_index == 50


def test_one_that_breaks_gives_way_to_the_next(make_world: MakeWorld) -> None:
    world = make_world("n1", "n2", "n3", "n4")
    leader = world.nodes["n1"]
    for peer in ("n2", "n3", "n4"):
        leader.sender.begin(peer, 5)
    world.run(until=lambda: len(world.said(Chunk)) == 2)
    world.cut("n1", "n2")
    world.run()
    assert arrived(leader, world.nodes["n4"])
    assert not arrived(leader, world.nodes["n2"])
    world.advance(1)
    assert arrived(leader, world.nodes["n2"])


def test_one_that_broke_comes_after_those_that_wait(make_world: MakeWorld) -> None:
    world = make_world("n1", "n2", "n3", "n4", "n5")
    leader = world.nodes["n1"]
    for peer in ("n2", "n3", "n4", "n5"):
        leader.sender.begin(peer, 5)
    world.run(until=lambda: len(world.said(Chunk)) == 2)
    world.nodes["n3"].desk.held = world.nodes["n4"].desk.held = True
    world.cut("n1", "n2")
    world.advance(1)
    world.nodes["n3"].desk.held = world.nodes["n4"].desk.held = False
    world.run()
    begun = [target for _, target, message in world.log if isinstance(message, Begin)]
    assert begun == ["n2", "n3", "n4", "n5", "n2"]
    assert all(arrived(leader, node) for node in world.nodes.values())


# --- connections ----------------------------------------------------------------------------------


def count_messages(world: World) -> int:
    world.nodes["n1"].sender.begin("n2", 5)
    world.run()
    return len(world.log)


def test_a_connection_lost_at_any_message(make_world: MakeWorld) -> None:
    total = count_messages(make_world())
    assert total == 17
    for lost in range(1, total + 1):
        world = make_world()
        leader, follower = world.nodes.values()

        def cut(count: int, world: World = world, lost: int = lost) -> None:
            if count == lost:
                world.cut("n1", "n2")

        world.on_send = cut
        leader.sender.begin("n2", 5)
        world.advance(2)
        assert arrived(leader, follower), lost
        assert len(leader.events) == 1, lost
        assert follower.events == [("ready", 40)], lost
        at_rest(world)


def test_a_follower_that_crashes_at_any_message(make_world: MakeWorld) -> None:
    total = count_messages(make_world())
    for lost in range(1, total + 1):
        world = make_world()
        leader = world.nodes["n1"]

        def crash(count: int, world: World = world, lost: int = lost) -> None:
            if count == lost:
                world.crash = True

        world.on_send = crash
        leader.sender.begin("n2", 5)
        world.run(until=lambda world=world: world.crash)
        assert world.crash
        world.restart("n2")
        world.advance(2)
        assert arrived(leader, world.nodes["n2"]), lost
        at_rest(world)


def test_a_new_try_has_a_new_number_and_the_newest_state(world: World) -> None:
    leader, follower = world.nodes.values()
    leader.sender.begin("n2", 5)
    world.run(until=lambda: len(world.said(Taken)) == 3)
    leader.fill(index=44, count=700)
    world.cut("n1", "n2")
    world.run()
    assert leader.exports_open == 0
    assert leader.sender.held_index is None
    assert follower.building is None
    world.advance(PAUSE_SECS[0] + 0.5)
    assert arrived(leader, follower)
    assert [begin.stream.number for begin in world.said(Begin)] == [1, 2]
    assert follower.index == 44


def test_answers_of_a_broken_stream_come_too_late(world: World) -> None:
    leader, follower = world.nodes.values()
    leader.sender.begin("n2", 5)
    world.run(until=lambda: len(world.said(Chunk)) == 2)
    leader.exchange.peer_lost("n2")
    for late in (Taken(Stream(5, 1), 0), Installed(Stream(5, 1), 40)):
        world.put("n2", "n1", late)
    world.advance(1)
    assert arrived(leader, follower)
    assert leader.events == [("installed", "n2", 40)]


def test_only_one_side_notices_the_loss(world: World) -> None:
    leader, follower = world.nodes.values()
    leader.sender.begin("n2", 5)
    world.run(until=lambda: len(world.said(Taken)) == 2)
    follower.exchange.peer_lost("n1")
    world.advance(1)
    assert arrived(leader, follower)
    assert Why.OUT_OF_ORDER in [stop.why for stop in world.said(Stop)]


def test_pauses_grow_while_nothing_moves(world: World) -> None:
    leader = world.nodes["n1"]
    world.down.add(frozenset(("n1", "n2")))
    leader.sender.begin("n2", 5)
    tries = []
    for _ in range(60):
        world.advance(0.5)
        tries.append(leader.sender._number)
        if not leader.sender.peers:
            break
    assert tries[-1] < 10
    assert ends(leader) == [Why.STALLED]
    at_rest(world)


# --- the receiver's disk --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["begin", "add"])
def test_a_full_disk_at_the_follower_is_tried_again(world: World, name: str) -> None:
    leader, follower = world.nodes.values()
    follower.told[name] = StorageFailed("no space")
    leader.sender.begin("n2", 5)
    world.advance(1)
    assert world.said(Stop)[0].why is Why.DISK
    assert arrived(leader, follower)
    assert follower.events == [("ready", 40)]


def test_a_failed_finish_is_not_answered(world: World) -> None:
    leader, follower = world.nodes.values()
    error = StorageFailed("no space")
    follower.told["finish"] = error
    leader.sender.begin("n2", 5)
    world.run()
    assert follower.events == [("failure", error)]
    assert world.said(Installed) == []
    assert leader.events == []


def test_a_failed_install_is_not_answered(world: World) -> None:
    leader, follower = world.nodes.values()
    follower.installs = False
    leader.sender.begin("n2", 5)
    world.advance(PATIENCE_SECS + 1)
    assert follower.events == [("ready", 40)]
    assert world.said(Installed) == []
    assert ends(leader) == [Why.STALLED]


def test_what_cannot_be_removed_is_removed_later(world: World) -> None:
    leader, follower = world.nodes.values()
    follower.told["discard"] = StorageFailed("no")
    leader.sender.begin("n2", 5)
    world.run(until=lambda: len(world.said(Taken)) == 2)
    world.cut("n1", "n2")
    world.run()
    assert follower.building is not None
    assert follower.events == []
    follower.building = None  # as the next beginning does
    world.advance(1)
    assert arrived(leader, follower)


def test_a_bug_in_the_storage_goes_up(world: World) -> None:
    leader, follower = world.nodes.values()
    error = KeyError("bug")
    follower.told["add"] = error
    leader.sender.begin("n2", 5)
    world.run()
    assert ("failure", error) in follower.events


@pytest.mark.parametrize("held", ["begin", "add"])
def test_the_next_begins_when_the_disk_is_done_with_the_last(world: World, held: str) -> None:
    leader, follower = world.nodes.values()
    leader.sender.begin("n2", 5)
    if held == "begin":
        world.run(until=lambda: bool(follower.desk.waiting))
    else:
        world.run(until=lambda: len(world.said(Taken)) == 1 and bool(follower.desk.waiting))
    follower.desk.held = True
    assert follower.desk.waiting
    world.cut("n1", "n2")
    world.advance(1)
    assert len(world.said(Begin)) == 2
    follower.desk.held = False
    world.run()
    assert arrived(leader, follower)
    at_rest(world)


# --- the sender's disk ----------------------------------------------------------------------------


def test_damage_at_the_leader_goes_up(make_world: MakeWorld) -> None:
    world = make_world("n1", "n2", "n3")
    leader, follower, other = world.nodes.values()
    error = DataDamaged(Path("state"), "a flipped bit")
    leader.sender.begin("n2", 5)
    leader.sender.begin("n3", 5)
    world.run(until=lambda: len(world.said(Taken)) == 4)
    leader.told["read"] = error
    world.run()
    assert leader.events == [("failure", error)]
    assert world.said(End) == []
    assert follower.pairs == other.pairs == {}
    at_rest(world)


# --- terms ----------------------------------------------------------------------------------------


def test_a_new_term_in_the_middle(world: World) -> None:
    leader, follower = world.nodes.values()
    leader.sender.begin("n2", 5)
    world.run(until=lambda: len(world.said(Taken)) == 2)
    follower.term = 6
    follower.receiver.new_term(6)
    assert [stop.why for stop in world.said(Stop)] == [Why.OTHER_TERM]
    world.run()
    assert follower.building is None
    assert follower.pairs == {}
    leader.sender.end_all()
    world.advance(5)
    assert len(world.said(Begin)) == 1
    at_rest(world)


def test_a_new_term_that_only_the_chunks_meet(world: World) -> None:
    leader, follower = world.nodes.values()
    leader.sender.begin("n2", 5)
    world.run(until=lambda: len(world.said(Taken)) == 2)
    follower.term = 6
    world.run()
    assert follower.building is None
    assert Why.OTHER_TERM in [stop.why for stop in world.said(Stop)]


def test_only_the_leader_of_the_own_term_is_listened_to(world: World) -> None:
    leader, follower = world.nodes.values()
    for term in (4, 6):
        lives = follower.lives
        leader.sender.begin("n2", term)
        world.run()
        assert (follower.lives, follower.building) == (lives, None)
        assert world.said(Stop)[-1].why is Why.OTHER_TERM
        leader.sender.end_all()
    leader.sender.begin("n2", 5)
    world.run()
    assert arrived(leader, follower)


def test_the_next_leader_takes_over(make_world: MakeWorld) -> None:
    world = make_world("n1", "n2", "n3")
    old, follower, new = world.nodes.values()
    old.sender.begin("n2", 5)
    world.run(until=lambda: len(world.said(Taken)) == 2)
    new.fill(index=60, count=500)
    follower.term = 6
    new.sender.begin("n2", 6)
    world.run()
    assert arrived(new, follower)
    assert new.events == [("installed", "n2", 60)]
    assert old.events == []


def test_a_leader_in_a_new_term_begins_again(world: World) -> None:
    leader, follower = world.nodes.values()
    leader.sender.begin("n2", 5)
    world.run(until=lambda: len(world.said(Taken)) == 2)
    follower.term = 7
    leader.sender.begin("n2", 7)
    world.run()
    assert arrived(leader, follower)
    assert leader.events == [("installed", "n2", 40)]


# --- what is not needed ---------------------------------------------------------------------------


def test_a_snapshot_at_or_below_what_is_applied_is_ignored(world: World) -> None:
    leader, follower = world.nodes.values()
    follower.applied = 40
    leader.sender.begin("n2", 5)
    world.run()
    assert leader.events == [("ended", "n2", Why.NOT_NEEDED, 40)]
    assert (follower.events, follower.lives) == ([], 0)


def test_what_was_overtaken_is_not_finished(world: World) -> None:
    leader, follower = world.nodes.values()
    leader.sender.begin("n2", 5)
    world.run(until=lambda: len(world.said(Taken)) == 2)
    follower.applied = 41
    world.run()
    assert leader.events == [("ended", "n2", Why.NOT_NEEDED, 41)]
    assert follower.events == []
    at_rest(world)


def test_what_was_overtaken_while_it_was_synced_is_dismissed(world: World) -> None:
    leader, follower = world.nodes.values()
    follower.installs = False
    leader.sender.begin("n2", 5)
    world.run()
    assert follower.receiver.held_index == 40
    follower.applied = 45
    follower.desk.held = True
    follower.receiver.dismiss()
    world.run()
    assert follower.receiver.held_index == 40  # a crash now would swap it in
    follower.desk.held = False
    world.run()
    assert leader.events == [("ended", "n2", Why.NOT_NEEDED, 45)]
    assert follower.ready is None
    at_rest(world)


# --- once it is whole -----------------------------------------------------------------------------


def test_whole_it_is_installed_whoever_leads(world: World) -> None:
    leader, follower = world.nodes.values()
    leader.sender.begin("n2", 5)
    world.run(until=lambda: bool(world.said(End)))
    world.run(until=lambda: follower.receiver.held_index is not None)
    assert follower.ready is None, "it is being synced"
    follower.receiver.new_term(6)
    world.cut("n1", "n2")
    world.run()
    assert arrived(leader, follower)


def test_a_begin_during_the_install_is_answered_after_it(world: World) -> None:
    leader, follower = world.nodes.values()
    follower.installs = False
    leader.sender.begin("n2", 5)
    world.run()
    world.cut("n1", "n2")
    leader.fill(index=70, count=1600)
    world.advance(1)
    assert [begin.index for begin in world.said(Begin)] == [40, 70]
    assert world.said(Stop) == []
    assert follower.lives > 9  # the second one's parts count, too
    follower.install()
    world.run()
    assert leader.events == [("ended", "n2", Why.NOT_NEEDED, 40)]
    at_rest(world)


def test_a_deferred_one_that_is_stopped_is_forgotten(world: World) -> None:
    leader, follower = world.nodes.values()
    follower.installs = False
    leader.sender.begin("n2", 5)
    world.run()
    world.cut("n1", "n2")
    world.advance(1)
    leader.sender.end_all()
    world.run()
    follower.install()
    world.run()
    assert Why.NOT_NEEDED not in [stop.why for stop in world.said(Stop)]


def test_a_deferred_one_whose_connection_is_lost_is_forgotten(world: World) -> None:
    leader, follower = world.nodes.values()
    follower.installs = False
    leader.sender.begin("n2", 5)
    world.run()
    world.cut("n1", "n2")
    world.advance(1)
    assert len(world.said(Begin)) == 2
    world.cut("n1", "n2")
    follower.install()
    assert world.said(Stop) == []


# --- time, resets ---------------------------------------------------------------------------------


def test_what_does_not_move_ends_and_lets_the_log_be_cut(world: World) -> None:
    leader, follower = world.nodes.values()
    leader.sender.begin("n2", 5)
    world.run(until=lambda: len(world.said(Taken)) == 2)
    follower.desk.held = True
    world.advance(PATIENCE_SECS - 1)
    assert leader.sender.held_index == 40
    world.advance(2)
    assert leader.events == [("ended", "n2", Why.STALLED, 0)]
    follower.desk.held = False
    world.run()
    assert follower.building is None
    at_rest(world)


def test_slow_but_moving_it_goes_on(world: World) -> None:
    leader, follower = world.nodes.values()
    follower.desk.held = True
    leader.sender.begin("n2", 5)
    for _ in range(20):
        world.advance(PATIENCE_SECS / 2 - 1)
        follower.desk.held = False
        follower.desk.step()
        follower.desk.held = True
    assert arrived(leader, follower)


@pytest.mark.parametrize("taken", [0, 2, 7])
def test_a_reset_waits_for_the_disk(world: World, taken: int) -> None:
    leader, follower = world.nodes.values()
    leader.sender.begin("n2", 5)
    world.run(
        until=lambda: len(world.said(Taken)) == taken and bool(follower.desk.waiting),
    )
    follower.desk.held = True
    reset = world.loop.create_task(follower.receiver.reset())
    world.run()
    assert not reset.done()
    follower.desk.held = False
    world.run(until=reset.done)
    follower.reopen()
    follower.desk.held = False
    world.cut("n1", "n2")
    world.advance(2)
    assert arrived(leader, follower)
    at_rest(world)


def test_a_closed_sender_reads_no_more(make_world: MakeWorld) -> None:
    world = make_world("n1", "n2", "n3")
    leader = world.nodes["n1"]
    leader.sender.begin("n2", 5)
    leader.sender.begin("n3", 5)
    world.run(until=lambda: len(world.said(Taken)) == 3)
    leader.desk.held = True
    closing = world.loop.create_task(leader.sender.close())
    world.run()
    assert not closing.done()
    assert leader.exports_open == 2
    leader.desk.held = False
    world.run()
    assert closing.done()
    assert leader.events == []
    at_rest(world)
