"""L4, A10: "all members vote alike" is asked of the newest set that the node ever had, not of what
is left of its log."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

from cluster.replication.raft_state import FOLLOWER
from cluster.replication.voters import encode_entry
from cluster.storage.flags import UNCERTAIN_FLAG
from taskq.commands import AddMember, RemoveMember
from taskq.results import ChangeStage, MemberChange
from tests.unit.replication.disk import Disk
from tests.unit.replication.group_rig import Group
from tests.unit.replication.rig import Rig

MakeGroup = Callable[..., Group]


def without_end(disk: Disk, earlier: Disk) -> Disk:
    """The log ends where it did earlier, and so does the state; no witness can be read. What is
    kept outside of both is as it was last."""
    torn = deepcopy(earlier)
    torn.head = replace(torn.head, flags={UNCERTAIN_FLAG: 77})
    torn.members = disk.members
    return torn


def led_without(group: Group, node_id: str) -> None:
    """n1 leads the others, and its state was written just now; the next time is in a second."""
    group.elect("n1")
    answer = group["n1"].driver.change_members(RemoveMember(node_id))
    assert isinstance(answer, MemberChange)
    group.tick(2.0, steps=10)
    group["n1"].submit(0)
    group.flow()
    while group["n1"].disk.state_index < group["n1"].raft.applied_index:
        group.tick(0.05)


def adds(group: Group, node_id: str) -> str:
    answer = group["n1"].driver.change_members(AddMember(node_id, f"{node_id}:1"))
    assert isinstance(answer, MemberChange)
    return answer.stage


def test_a_node_that_lost_a_set_of_members_does_not_know_who_all_are(make_group: MakeGroup) -> None:
    """The adding of n3 is held by n1 and n3; n1 loses the end of its log with it, n2 never had it:
    by the logs of both they two are all."""
    group = make_group(3)
    led_without(group, "n3")
    assert group["n2"].raft.others == ("n1",)
    assert adds(group, "n3") == ChangeStage.CONNECTING
    group.tick(0.1)
    earlier = deepcopy(group["n1"].disk)
    group.tick(0.3, steps=3)
    group.isolate("n2")
    group.tick(0.4, steps=4)
    group["n1"].submit(1)
    group.flow()
    assert adds(group, "n3") == ChangeStage.DONE
    assert 1 in group.accepted()
    assert group["n1"].disk.state_index <= earlier.head.last, "nothing of it is in the state yet"
    group.crash("n1")
    group["n1"].disk = without_end(group["n1"].disk, earlier)
    group.isolate("n3")
    group.restart("n1")
    for link in (("n1", "n2"), ("n2", "n1")):
        group.let_go(*link)
        group.cut(*link)
        group.connect(*link)
    group.tick(5.0, steps=50)
    assert group["n1"].raft.others == ("n2",)
    assert group.leaders() == [], "only n3 has what was answered"
    group.rejoin("n3")
    group.tick(5.0, steps=50)
    (leader,) = group.leaders()
    group.submit(leader, [2])
    group.tick(2.0, steps=20)
    assert {1, 2} <= group.accepted()
    assert all({1, 2} <= set(group.stored(one)) for one in group.ids)
    assert group["n1"].disk.head.flags == {}, "whole again, as after a lost log"


def test_a_node_that_lost_its_only_partner_does_not_lead_alone(make_group: MakeGroup) -> None:
    group = make_group(2)
    led_without(group, "n2")
    assert adds(group, "n2") == ChangeStage.CONNECTING
    group.tick(0.1)
    earlier = deepcopy(group["n1"].disk)
    group.tick(0.7, steps=7)
    group["n1"].submit(1)
    group.flow()
    assert adds(group, "n2") == ChangeStage.DONE
    assert group["n1"].disk.state_index <= earlier.head.last
    group.isolate("n2")
    group.crash("n1")
    group["n1"].disk = without_end(group["n1"].disk, earlier)
    group.restart("n1")
    group.tick(5.0, steps=50)
    assert group["n1"].raft.others == ()
    assert group["n1"].raft.role == FOLLOWER


def test_a_set_that_was_lost_or_replaced_counts_no_more_once_the_state_is_beyond_it(
    make_group: MakeGroup,
) -> None:
    """n1 noted a change, and another leader's entries took its place."""
    group = make_group(3)
    group.elect("n1")
    group.isolate("n1")
    group["n1"].driver.change_members(RemoveMember("n3"))
    group["n1"].settled()
    noted = group["n1"].disk.members
    assert noted == (group["n1"].raft.last_index, group["n1"].raft.term)
    group.tick(2.0, steps=20)
    (leader,) = group.leaders()
    group.submit(leader, [1, 2])
    group.rejoin("n1")
    group.tick(2.0, steps=20)
    assert group["n1"].disk.state_index >= noted[0]
    for one in group.ids:
        group.crash(one)
        group[one].disk = without_end(group[one].disk, group[one].disk)
    for one in group.ids:
        group.restart(one)
    group.tick(5.0, steps=50)
    assert len(group.leaders()) == 1, "all vote alike"


def test_a_set_counts_for_nobody_before_the_leader_has_noted_it(make_group: MakeGroup) -> None:
    """Three of the four hold an entry, and it is nothing to the set of three, while that is nowhere
    but in the leader's memory."""
    group = make_group(4)
    group.elect("n1")
    group.slow.add("n1")
    group.isolate("n3")
    group["n1"].submit(1)
    group.flow()
    before, held = group["n1"].raft.commit_index, group["n2"].disk.head.last
    group["n1"].driver.change_members(RemoveMember("n4"))
    group["n1"].submit(2)
    group.rejoin("n3")
    group.flow()
    assert group["n1"].raft.majority == 2
    assert group["n2"].disk.head.last == group["n3"].disk.head.last == held
    assert group["n1"].raft.commit_index == before
    assert group["n1"].disk.members == (0, 0)
    group.slow.clear()
    group.flow()
    assert group["n1"].disk.members[0] == held + 1
    assert group["n1"].raft.commit_index == group["n3"].disk.head.last == held + 2
    assert {1, 2} <= group.accepted()


def test_with_durability_interval_a_set_of_members_waits_for_the_disk(
    make_rig: Callable[..., Rig],
) -> None:
    rig = make_rig(sync_interval_secs=0.1, others=("n2",))
    rig.start()
    journal = rig.journal
    term = journal.getCurrentTerm()
    journal.add(b"\0one", journal.last_index + 1, term)
    assert journal.only_entries
    journal.add(encode_entry(journal.roster.newest.members), journal.last_index + 1, term)
    assert not journal.only_entries
    batch, last = journal.take_pending()
    assert batch.members == (last, term)
    journal.add(b"\0two", journal.last_index + 1, term)
    assert not journal.only_entries, "it is on its way to the disk"
    journal.flushed(last)
    assert journal.only_entries
