"""Scenarios of three nodes: changes of leader, links that flap, disks that take their time."""

from __future__ import annotations

from cluster.replication.messages import Heartbeat
from tests.unit.replication.group_rig import Group


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
