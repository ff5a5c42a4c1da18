"""A disk that had the name of a member before that was removed, and added with another one (A10):
the others know the member by the flag that it was added with."""

from __future__ import annotations

import copy

from structlog.testing import capture_logs

from cluster.replication.roster import Roster
from cluster.replication.voters import Voter, Voters
from cluster.storage.flags import (
    ID_MAX,
    MEMBER_FLAG,
    NON_VOTING_FLAG,
    is_kept,
    loss_in,
    new_flag_id,
)
from cluster.storage.log_records import Head
from taskq.commands import AddMember, RemoveMember
from taskq.results import ChangeStage
from tests.unit.replication.disk import Disk
from tests.unit.replication.group_rig import Group
from tests.unit.replication.rig import Rig

FLAG, LATER = new_flag_id(), new_flag_id()


def flagged(flag: int) -> Disk:
    """An empty disk that did not found the cluster, or the one after it was lost."""
    disk = Disk()
    disk.head = Head(1, flags={NON_VOTING_FLAG: flag})
    return disk


def become(group: Group, wanted: AddMember | RemoveMember) -> None:
    """The leader makes it so."""
    for _ in range(20):
        (leader,) = group.leaders()
        answer = group[leader].driver.change_members(wanted)
        group.flow()
        group.tick(0.2)
        if answer.stage == ChangeStage.DONE:
            return
    raise AssertionError(answer)


def swap(group: Group, node_id: str, disk: Disk) -> Disk:
    """The node is switched off, and started with another disk; the one that it had."""
    if node_id not in group.down:
        group.crash(node_id)
    former, group[node_id].disk = group[node_id].disk, disk
    group.restart(node_id)
    group.tick(0.4)
    return former


def readded(group: Group) -> Disk:
    """n3 is lost, removed, and added again with an empty disk; the old one."""
    group.elect("n1")
    group.submit("n1", [1, 2])
    group.crash("n3")
    old = copy.deepcopy(group["n3"].disk)
    group.tick(0.4)
    become(group, RemoveMember("n3"))
    swap(group, "n3", flagged(FLAG))
    become(group, AddMember("n3", "n3:1"))
    return old


def superseded(node: Rig) -> bool:
    """Whether it knows that its disk is an older one."""
    return bool(node.raft.loss) and not node.journal.flag


def alone_with_the_third(group: Group) -> None:
    """What is acknowledged now, n1 and n3 have, and n2 does not; and then n1 is gone."""
    group.isolate("n2")
    group.submit("n1", [3])
    assert 3 in group.accepted()


def test_an_older_disk_under_the_name_of_a_member_neither_votes_nor_acknowledges(
    group: Group,
) -> None:
    old = readded(group)
    alone_with_the_third(group)
    group.crash("n3")
    group["n3"].disk = old
    group.restart("n3")
    group.crash("n1")
    group.rejoin("n2")
    group.tick(10.0, steps=50)
    assert group.leaders() == [], "n2 lacks what n1 and the newer disk acknowledged"
    group.restart("n1")
    group.tick(5.0, steps=50)
    (leader,) = group.leaders()
    assert 3 in group.stored(leader)
    assert superseded(group["n3"]), "it knows by its log, and never makes up for it"
    group.crash("n2" if leader == "n1" else "n1")
    group[leader].submit(4)
    group.tick(0.4)
    assert 4 not in group.accepted()


def test_the_leader_says_that_a_disk_is_older_and_proposes_nothing_for_it(group: Group) -> None:
    old = readded(group)
    with capture_logs() as logs:
        newer = swap(group, "n3", old)
        group.tick(3.0, steps=10)
    said = [one["event"] for one in logs if one.get("member") == "n3"]
    assert len(said) == 1, said
    assert "older disk" in said[0]
    assert not group["n3"].raft.journal.flags
    with capture_logs() as logs:
        swap(group, "n3", newer)
        group.tick(3.0, steps=10)
    assert not group["n3"].raft.loss
    group.crash("n2")
    group.submit("n1", [5])
    assert 5 in group.accepted(), "the newer disk counts"


def test_who_was_added_is_known_by_its_flag_over_restarts_and_another_adding(group: Group) -> None:
    readded(group)
    for _ in range(2):
        assert group["n3"].disk.head.flags == {MEMBER_FLAG: FLAG}
        assert not group["n3"].raft.loss
        group.crash("n3")
        group.restart("n3")
        group.tick(0.4)
        become(group, RemoveMember("n3"))
        become(group, AddMember("n3", "n3:1"))
    group.crash("n2")
    group.submit("n1", [6])
    assert 6 in group.accepted()


def test_a_member_that_lost_its_disk_takes_the_name_of_its_flag_over(group: Group) -> None:
    """Whole by A8: from then on it is the disk that the others know."""
    readded(group)
    swap(group, "n3", flagged(LATER))
    group.submit("n1", [7])
    group.tick(2.0, steps=10)
    assert group["n3"].disk.head.flags == {MEMBER_FLAG: FLAG}
    assert not group["n3"].raft.loss
    group.crash("n2")
    group.submit("n1", [8])
    assert 8 in group.accepted()


def test_a_founder_that_was_wiped_and_became_whole_tells_of_no_flag(group: Group) -> None:
    group.elect("n1")
    swap(group, "n3", flagged(LATER))
    group.submit("n1", [1])
    group.tick(2.0, steps=10)
    assert group["n3"].disk.head.flags == {}
    assert not group["n3"].raft.loss


def test_an_older_disk_that_is_emptied_is_whole_again(group: Group) -> None:
    swap(group, "n3", readded(group))
    assert superseded(group["n3"])
    swap(group, "n3", flagged(LATER))
    group.submit("n1", [7])
    group.tick(2.0, steps=10)
    assert not group["n3"].raft.loss
    group.crash("n2")
    group.submit("n1", [9])
    assert 9 in group.accepted()


def test_flags_that_older_versions_made_say_nothing_of_a_disk() -> None:
    """Who was added with one of those has forgotten it."""
    members = {"n2": Voter("h:2", 77), "n3": Voter("h:3", FLAG)}
    roster = Roster("n1", Voters(5, members))
    assert [roster.loss_of("n2", flag) for flag in (0, 77, FLAG)] == [0, 0, FLAG]
    assert [roster.loss_of("n3", flag) for flag in (0, FLAG, LATER)] == [FLAG, 0, LATER]


def test_ids_of_flags() -> None:
    ids = {new_flag_id() for _ in range(100)}
    assert len(ids) > 90
    assert all(0 < one <= ID_MAX and is_kept(one) for one in ids)
    assert [is_kept(one) for one in (0, 1, 77)] == [False] * 3
    assert new_flag_id(lambda bound: bound - 1) <= ID_MAX
    assert loss_in({MEMBER_FLAG: FLAG}) == 0
    assert loss_in({MEMBER_FLAG: FLAG, NON_VOTING_FLAG: LATER}) == LATER
