"""Scenarios of three nodes: changes of leader, links that flap, disks that take their time."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from cluster.replication.messages import Heartbeat
from cluster.storage.log_records import entry_key
from tests.unit.replication.group_rig import Group, refusals

MakeGroup = Callable[..., Group]


def test_three_nodes_elect_commit_and_apply(group: Group) -> None:
    leader = group.elect("n1")
    group.submit("n1", range(1, 50))
    group.tick(0.3)
    assert leader.accepted() == set(range(1, 50))
    assert leader.raft.last_index == 51
    assert {node.raft.applied_index for node in group.nodes.values()} == {51}
    group.tick(2, steps=8)
    assert {node.disk.state_index for node in group.nodes.values()} == {51}
    for node in group.nodes.values():
        assert node.disk.state.values == node.replayed(51).values
    assert not group.repeats()


def test_a_candidate_knows_nothing_of_the_log_of_who_wins_its_term(group: Group) -> None:
    """n2 agreed with the leader before, and stands for the term that n3 wins: what it agreed to is
    not in the log of n3, and must not be committed or acknowledged as if it were."""
    group.elect("n1")
    group.isolate("n3")
    group.hold("n2", "n1")
    group.submit("n1", [1, 2])  # in the logs of n1 and n2, committed by nobody
    tail = group["n2"].raft.last_index
    assert group["n2"].consensus.following.verified == tail
    assert group["n1"].raft.commit_index < tail
    group.crash("n1")
    group["n2"].consensus.elections.stop_asking()
    group.stands("n2")
    term = group["n2"].raft.term
    beat = Heartbeat(term, 0, 1, 0, tail, 0, 0, 0)  # whoever won has committed other entries there
    group.say("n3", "n2", beat)
    assert group["n2"].raft.commit_index < tail
    assert group["n2"].consensus.following.match == 0


def test_every_entry_is_sent_once_to_each_follower_over_changes_of_leader(group: Group) -> None:
    tags = iter(range(1, 1000))
    for leader in ("n1", "n2", "n3", "n1"):
        if group.leaders():
            heard: list[object] = []
            group[group.leaders()[0]].driver.transfer(leader, heard.append)
            group.flow()
            assert heard == [None]
        else:
            group.elect(leader)
        for _ in range(10):
            group.submit(leader, [next(tags), next(tags)])
            group.tick(0.1)
    assert group.leaders() == ["n1"]
    assert not group.repeats()


def test_each_entry_is_sent_once_while_a_follower_is_slow(group: Group) -> None:
    """Its disk takes long, acknowledgements come late and in lumps; heartbeats go on meanwhile."""
    group.elect("n1")
    group.slow.add("n3")
    group.hold("n3", "n1")
    for tag in range(1, 60):
        group.submit("n1", [tag])
        group.tick(0.05)
        if tag % 7 == 0:
            group["n3"].log.finish()
        if tag % 11 == 0:
            group.deliver("n3", "n1", len(group.queues["n3", "n1"]))
    group.slow.clear()
    group.let_go("n3", "n1")
    group.tick(1.0, steps=10)
    assert group["n3"].raft.applied_index == group["n1"].raft.last_index
    assert not group.repeats()
    assert group["n1"].raft.term == 1


def test_unflushed_entries_of_a_crashed_leader_are_replaced(group: Group) -> None:
    """They were on nobody's disk but a follower's, whose tail gives way to the new leader's."""
    group.elect("n1")
    group.tick(0.5)
    group.slow = {"n1", "n2"}
    group.hold("n1", "n3")
    group["n1"].submit(1)  # in memory at n1 and n2, on no disk
    group.flow()
    tail = group["n2"].raft.last_index
    assert group["n3"].raft.last_index == tail - 1
    group.crash("n1")
    group.crash("n2")
    group.slow.clear()
    group.restart("n2")
    assert group["n2"].raft.last_index == tail - 1
    group.tick(3.0, steps=30)
    (leader,) = group.leaders()
    group.submit(leader, [2])
    group.restart("n1")
    group.tick(1.0, steps=10)
    assert 2 in group[leader].accepted()
    assert {group[one].raft.last_index for one in group.ids} == {group[leader].raft.last_index}
    assert [entry[1:] for entry in group.entries("n1")] == [
        entry[1:] for entry in group.entries("n3")
    ]


def test_a_tail_that_only_the_old_leader_has_gives_way(group: Group) -> None:
    group.elect("n1")
    group.tick(0.5)
    group.isolate("n1")
    group.submit("n1", [1, 2, 3])  # on its own disk, nowhere else
    own = group["n1"].raft.last_index
    group.tick(3.0, steps=30)
    (leader,) = group.leaders()
    assert leader != "n1"
    group.submit(leader, [11])
    assert group["n1"].raft.last_index == own
    assert all(value.unknown for value in refusals(group["n1"]).values())
    assert set(refusals(group["n1"])) == {1, 2, 3}
    group.rejoin("n1")
    group.tick(1.0, steps=10)
    assert group.entries("n1") == group.entries(leader)
    assert group["n1"].disk.entries() == group[leader].disk.entries()
    assert group["n1"].raft.commit_index == group[leader].raft.commit_index
    assert group.leaders() == [leader]


def test_a_committed_entry_survives_the_leader_that_never_flushed_it(group: Group) -> None:
    """Two followers have it on disk: it is committed, and the next leader has it."""
    group.elect("n1")
    group.tick(0.5)
    group.slow.add("n1")
    group["n1"].submit(1)
    group.flow()
    last = group["n1"].raft.last_index
    assert group["n1"].raft.commit_index == last
    assert 1 not in group["n1"].answers, "not applied before it is on the own disk"
    group.crash("n1")
    group.slow.clear()
    group.tick(0.1, steps=20)
    (leader,) = group.leaders()
    assert 1 in group.stored(leader)
    group.restart("n1")
    group.tick(1.0, steps=10)
    assert group.entries("n1") == group.entries(leader)
    assert group["n1"].raft.applied_index == group["n1"].raft.last_index


def test_acknowledgements_lost_in_one_direction_are_made_good_by_heartbeats(group: Group) -> None:
    group.elect("n1")
    group.crash("n3")
    group.hold("n2", "n1")
    group.submit("n1", [1])
    group.drop("n2", "n1")  # the acknowledgement is gone, and no connection broke
    group.let_go("n2", "n1")
    assert 1 not in group["n1"].answers
    group.tick(0.4, steps=4)
    assert 1 in group["n1"].accepted()
    assert not group.repeats()


def test_appends_lost_in_one_direction_are_sent_again(group: Group) -> None:
    group.elect("n1")
    group.crash("n3")
    group.hold("n1", "n2")
    group.submit("n1", [1, 2])
    group.drop("n1", "n2")
    group.let_go("n1", "n2")
    group.tick(0.5, steps=5)
    assert {1, 2} <= group["n1"].accepted()
    assert set(group.repeats().values()) == {2}, "once more, however many heartbeats showed it"


def test_a_rejection_that_is_lost_holds_up_nobody(group: Group) -> None:
    group.elect("n1")
    group.isolate("n3")
    group.submit("n1", range(1, 6))
    group.tick(0.3)
    group.drop("n1", "n3")
    group.drop("n3", "n1")
    group.held.discard(("n1", "n3"))
    group.submit("n1", [6])  # n3 rejects it: it lacks what came before
    group.drop("n3", "n1")
    group.held.discard(("n3", "n1"))
    group.tick(1.0, steps=10)
    assert group["n3"].raft.applied_index == group["n1"].raft.last_index


@pytest.mark.parametrize("seed", range(6))
def test_links_that_flap_lose_nothing(group: Group, seed: int) -> None:
    rng = random.Random(seed)
    group.elect("n1")
    group.tick(0.5, steps=5)
    for tag in range(1, 151):
        leader = (group.leaders() or ["n1"])[0]
        group[leader].submit(tag)
        one, other = rng.choice(sorted(group.queues))
        if rng.random() < 0.3:
            group.cut(one, other)
        if rng.random() < 0.5:
            link = rng.choice(sorted(group.closed or {(one, other)}))
            group.connect(*link)
        for _ in range(rng.randrange(4)):
            group.step()
        group.tick(rng.choice([0.0, 0.01, 0.1]))
    for link in sorted(group.closed):
        group.connect(*link)
    group.tick(5.0, steps=50)
    (leader,) = group.leaders()
    lasts = {node.raft.applied_index for node in group.nodes.values()}
    assert lasts == {group[leader].raft.last_index}
    accepted = group.accepted()
    assert all(accepted <= set(group.stored(one)) for one in group.ids)
    assert len(accepted) > 50


@pytest.mark.parametrize("seed", range(8))
def test_crashes_at_any_moment_lose_nothing_that_was_answered(group: Group, seed: int) -> None:
    """Messages come in any order across connections, disks answer when they like, one node at a
    time is down; whatever was answered is in every log in the end."""
    rng = random.Random(seed)
    group.elect("n1")
    tag = 0
    for _ in range(400):
        up = [one for one in group.ids if one not in group.down]
        node = group[rng.choice(up)]
        draw = rng.random()
        if draw < 0.25:
            tag += 1
            node.submit(tag)
        elif draw < 0.45:
            node.log.finish()
        elif draw < 0.5:
            node.state.finish()
        elif draw < 0.9:
            links = [link for link in sorted(group.queues) if group.queues[link]]
            if links:
                group.deliver(*rng.choice(links))
        elif draw < 0.98 or (group.down and draw < 0.985):
            group.loop.now += rng.choice([0.01, 0.05, 0.3])
            group.loop.settle()
        elif group.down:
            group.restart(group.down.copy().pop())
        else:
            group.crash(node.node_id)
        group.check()
    for one in sorted(group.down):
        group.restart(one)
    group.tick(6.0, steps=60)
    accepted = group.accepted()
    assert len(accepted) > 10
    for node_id, node in group.nodes.items():
        node.check()
        assert accepted <= set(group.stored(node_id))
        assert node.disk.entries() == group["n1"].disk.entries()
        assert node.disk.state.values == group["n1"].disk.state.values
        assert node.raft.applied_index == node.disk.state_index == group["n1"].raft.applied_index


def test_a_follower_that_restarts_in_mid_stream_goes_on(group: Group) -> None:
    group.elect("n1")
    group.slow.add("n3")
    group.submit("n1", range(1, 20))
    group["n3"].log.finish()
    group.submit("n1", range(20, 30))
    on_disk = group["n3"].disk.head.last
    assert on_disk < group["n1"].raft.last_index
    group.crash("n3")
    group.submit("n1", range(30, 40))
    group.slow.clear()
    group.restart("n3")
    group.tick(0.5, steps=5)
    assert group["n3"].disk.entries() == group["n1"].disk.entries()
    assert group["n1"].accepted() == set(range(1, 40))
    assert group["n1"].raft.term == 1
    again = {index for (to, _, index), _ in group.repeats().items() if to == "n3"}
    assert min(again) > on_disk - 12, "from about where its disk was, not from the beginning"


def test_a_group_whose_power_failed_comes_back_by_itself(group: Group) -> None:
    group.elect("n1")
    group.submit("n1", range(1, 10))
    group["n1"].submit(10)
    for one in group.ids:
        group.crash(one)
    for one in group.ids:
        group.restart(one)
    group.tick(3.0, steps=60)
    (leader,) = group.leaders()
    assert group[leader].raft.is_leader
    assert group[leader].raft.term > 1
    assert set(range(1, 10)) <= set(group.stored(leader))


def test_a_follower_whose_log_begins_right_after_its_state_follows(make_group: MakeGroup) -> None:
    """A repair may leave it so."""
    group = make_group()
    group.elect("n1")
    group.submit("n1", range(1, 8))
    group.tick(0.5, steps=5)
    for one in group.ids:
        group.crash(one)
    disks = {one: group[one].disk for one in group.ids}
    disk, index = disks["n3"], disks["n3"].head.last
    disk.state, disk.state_index, disk.state_terms = (
        group["n3"].replayed(index - 1),
        index - 1,
        (1, 1),
    )
    for number in range(1, index):
        disk.records.pop(entry_key(number))
    disk.head = replace(disk.head, first=index, lowest=index, commit_index=0)
    again = make_group(disks=disks)
    again.elect("n1")
    again.submit("n1", [99])
    again.tick(0.5, steps=5)
    assert again["n3"].raft.applied_index == again["n1"].raft.last_index
