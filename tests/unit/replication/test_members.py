"""Who is a member is told by the log, and changes one node at a time (A10)."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.replication.build import OWN_BUILD
from cluster.replication.messages import Resigned
from cluster.replication.raft_state import FOLLOWER
from taskq.commands import AddMember, RemoveMember
from taskq.errors import Refusal
from taskq.levels import LEVEL_MAX, Build
from taskq.results import ChangeStage
from tests.unit.replication.group_rig import Group


def change(group: Group, node_id: str, wanted: AddMember | RemoveMember) -> Any:
    """What the leader answers; nothing has moved since."""
    return group[node_id].driver.change_members(wanted)


def removed(group: Group, node_id: str) -> None:
    """The leader takes it out, and all that can hear of it do."""
    (leader,) = group.leaders()
    assert change(group, leader, RemoveMember(node_id)).stage == ChangeStage.CHANGING
    group.flow()
    group.tick(0.4)
    assert change(group, leader, RemoveMember(node_id)).stage == ChangeStage.DONE


def test_a_removed_follower_knows_it_and_counts_for_nothing(group: Group) -> None:
    group.elect("n1")
    removed(group, "n3")
    assert [group[one].raft.is_member for one in group.ids] == [True, True, False]
    assert group["n2"].raft.others == ("n1",)
    group.crash("n2")
    group["n1"].submit(1)
    group.flow()
    assert 1 not in group.accepted(), "n3 and the leader are no majority of n1 and n2"


def test_a_restart_goes_by_the_log_and_the_state(group: Group) -> None:
    group.elect("n1")
    removed(group, "n3")
    group["n2"].tick(1.5)
    group.flow()
    for one in ("n2", "n3"):
        group.crash(one)
        node = group.restart(one)
        assert node.raft.others == tuple(sorted({"n1", "n2"} - {one}))
    group.tick(5.0, steps=20)
    assert group["n3"].raft.role == FOLLOWER
    assert group["n3"].consensus.elections.count == 0, "who was removed never stands"


def test_one_change_waits_for_the_other(group: Group) -> None:
    group.elect("n1")
    for other in ("n2", "n3"):
        group.hold("n1", other)
    assert change(group, "n1", RemoveMember("n3")).stage == ChangeStage.CHANGING
    refused = change(group, "n1", RemoveMember("n2"))
    assert isinstance(refused, Refusal)
    assert "another change of members is under way" in refused.message
    assert group["n1"].raft.others == ("n2",), "the newest set counts, committed or not"


def test_a_change_that_is_cut_off_gives_the_former_set_back(group: Group) -> None:
    group.elect("n1")
    group.isolate("n1")
    assert change(group, "n1", RemoveMember("n3")).stage == ChangeStage.CHANGING
    group["n1"].settled()
    group.tick(2.0, steps=20)
    (leader,) = group.leaders()
    assert leader != "n1"
    group.submit(leader, [1])
    group.rejoin("n1")
    group.tick(1.0, steps=10)
    assert group["n1"].raft.others == ("n2", "n3")


def test_a_leader_leaves_after_it_handed_over(group: Group) -> None:
    group.elect("n1")
    assert change(group, "n1", RemoveMember("n1")).stage == ChangeStage.CHANGING
    group.flow()
    (leader,) = group.leaders()
    assert leader != "n1"
    removed(group, "n1")
    assert not group["n1"].raft.is_member
    group.submit(leader, [1])
    assert 1 in group.accepted()


def test_a_leader_that_takes_itself_out_leads_until_that_is_committed(group: Group) -> None:
    leader = group.elect("n1")
    leading, changes = leader.consensus.leading, leader.consensus.changes
    assert leading is not None
    group.hold("n2", "n1")
    group.hold("n3", "n1")
    changes._take_out("n1", leading, group.loop.now)
    leader.driver.wake()
    group.flow()
    assert leader.raft.is_leader, "its own disk does not count, and nobody else answered"
    assert leader.raft.commit_index < leader.raft.last_index
    group.let_go("n2", "n1")
    group.let_go("n3", "n1")
    group.flow()
    group.tick(0.4)
    assert group.leaders() in (["n2"], ["n3"])


def test_who_learns_that_its_leader_was_removed_asks_for_votes_at_once(group: Group) -> None:
    """The removed one says so, too; but it is not heard any more (see `Standing`)."""
    leader = group.elect("n1")
    assert leader.consensus.leading is not None
    group.hold("n1", "n3")
    leader.consensus.changes._take_out("n1", leader.consensus.leading, group.loop.now)
    leader.driver.wake()
    group.flow()
    for _ in range(2):  # the entry, and when both have it, that it is committed
        told = group.waiting("n1", "n3")
        group.drop("n1", "n3")
        for message in told:
            if not isinstance(message, Resigned):
                group.say("n1", "n3", message)
        group.flow()
    assert group["n3"].raft.commit_index == group["n3"].raft.roster.newest.entry
    assert group["n3"].consensus.elections.deadline < group.loop.now + 0.1


def test_who_lost_the_lead_while_it_handed_over_does_not_remove_itself_later(group: Group) -> None:
    """Whoever still wants it asks the next leader; this one may have been added again since."""
    leader = group.elect("n1")
    for one, other in (("n1", "n2"), ("n1", "n3"), ("n2", "n3")):
        group.hold(one, other, back=one == "n2")
    assert change(group, "n1", RemoveMember("n1")).stage == ChangeStage.CHANGING
    group.stands("n2")
    group.flow()
    assert leader.raft.term == group["n2"].raft.term, "it leads no more, and hears of no other"
    group.isolate("n1")
    group.let_go("n2", "n3")
    group.let_go("n3", "n2")
    group.tick(2.0, steps=20)
    assert not leader.consensus.transfer.holding, "nobody took over in time, as far as it knows"
    group.rejoin("n1")
    group.tick(1.0, steps=10)
    handed: list[Refusal | None] = []
    (other,) = group.leaders()
    group[other].driver.transfer("n1", handed.append)
    group.tick(1.0, steps=10)
    assert handed == [None]
    assert list(leader.raft.roster.newest.members) == ["n1", "n2", "n3"]


def test_what_would_leave_no_majority_is_refused_and_a_dead_node_may_leave(group: Group) -> None:
    group.elect("n1")
    group.crash("n3")
    group.tick(0.4)
    refused = change(group, "n1", RemoveMember("n2"))
    assert isinstance(refused, Refusal)
    assert "n3 must come back, or be removed, first" in refused.message
    removed(group, "n3")
    removed(group, "n2")
    assert group["n1"].raft.majority == 1
    group.crash("n2")
    group.submit("n1", [1])
    assert 1 in group.accepted()
    last = change(group, "n1", RemoveMember("n1"))
    assert isinstance(last, Refusal)
    assert "n1 is the only member" in last.message


def test_a_node_that_left_comes_back_when_it_has_caught_up(group: Group) -> None:
    group.elect("n1")
    removed(group, "n3")
    wanted = AddMember("n3", "n3:1")
    assert change(group, "n1", wanted).stage == ChangeStage.CONNECTING
    group.tick(0.3)
    assert change(group, "n1", wanted).stage == ChangeStage.CATCHING_UP
    assert change(group, "n1", AddMember("n4", "n4:1")).code == "WRONG_STATE"
    group.submit("n1", range(1, 4))
    group.tick(1.0, steps=10)
    assert change(group, "n1", wanted).stage == ChangeStage.DONE
    group.crash("n2")
    group.submit("n1", [4])
    assert 4 in group.accepted()


@pytest.mark.parametrize("build", [Build("9", LEVEL_MAX + 1, LEVEL_MAX + 1), Build("0", 0, 0)])
def test_a_node_whose_build_cannot_run_the_level_is_not_added(group: Group, build: Build) -> None:
    """It would stop at the first entry, and the group would count on it."""
    leader = group.elect("n1")
    removed(group, "n3")
    wanted = AddMember("n3", "n3:1")
    why = f"n3 is {build.text()}, and the cluster is at {LEVEL_MAX}"
    leader.builds["n3"] = build
    refused = change(group, "n1", wanted)
    assert refused.code == "WRONG_STATE"
    assert why in refused.message
    assert leader.consensus.changes.learner is None
    del leader.builds["n3"]
    assert change(group, "n1", wanted).stage == ChangeStage.CONNECTING
    group.tick(1.0, steps=10)
    assert list(leader.raft.roster.newest.members) == ["n1", "n2"], "it did not say what it is"
    leader.builds["n3"] = build
    group.tick(1.0, steps=10)
    del leader.builds["n3"]  # such a node ends as soon as it hears what the cluster runs
    group.tick(1.0, steps=10)
    assert why in change(group, "n1", wanted).message
    assert leader.consensus.changes.learner is None
    leader.builds["n3"] = OWN_BUILD
    assert change(group, "n1", wanted).stage == ChangeStage.CONNECTING
    group.tick(1.0, steps=10)
    assert change(group, "n1", wanted).stage == ChangeStage.DONE


def test_a_node_that_cannot_be_added_and_that_nobody_asks_for_is_given_up(group: Group) -> None:
    leader = group.elect("n1")
    removed(group, "n3")
    del leader.builds["n3"]
    change(group, "n1", AddMember("n3", "n3:1"))
    leader.builds["n3"] = Build("9", LEVEL_MAX + 1, LEVEL_MAX + 1)
    group.tick(25.0, steps=25)
    assert leader.consensus.changes.learner is None
    assert list(leader.raft.roster.newest.members) == ["n1", "n2"]


def test_a_node_that_cannot_be_reached_is_given_up(group: Group) -> None:
    group.elect("n1")
    wanted = AddMember("n9", "n9:1")
    assert change(group, "n1", wanted).stage == ChangeStage.CONNECTING
    group.tick(11.0, steps=11)
    refused = change(group, "n1", wanted)
    assert isinstance(refused, Refusal)
    assert "cannot be reached at n9:1" in refused.message
    assert change(group, "n1", RemoveMember("n9")).code == "NOT_FOUND"


def test_requests_that_make_no_sense_are_refused(group: Group) -> None:
    group.elect("n1")
    codes = {
        AddMember("n4", "nowhere"): "INVALID_REQUEST",
        AddMember("n2", "n2:1"): "ALREADY_EXISTS",
        RemoveMember("n9"): "NOT_FOUND",
    }
    assert {wanted: change(group, "n1", wanted).code for wanted in codes} == codes
    assert change(group, "n2", RemoveMember("n3")).code == "NO_LEADER"
