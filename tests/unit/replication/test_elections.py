"""A5, A4, L4: who stands, who gets a vote, and who is not disturbed."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from cluster.replication.consensus import FALLBACK, TERM_LEAP_MAX
from cluster.replication.elections import DENY_SECS, FIRST_ASKS_SECS, NEXT_ASKS_SECS
from cluster.replication.messages import (
    Append,
    Heartbeat,
    Message,
    Newer,
    PreVote,
    PreVoteReply,
    Vote,
    VoteReply,
)
from cluster.replication.raft_state import CANDIDATE, FOLLOWER, LEADER
from cluster.storage.flags import NON_VOTING_FLAG, UNCERTAIN_FLAG
from cluster.storage.log_records import Head
from tests.unit.replication.disk import Disk
from tests.unit.replication.group_rig import Group

MakeGroup = Callable[..., Group]
# Both others have asked by then, after the leader's connections closed. Seconds.
BOTH_ASKED_SECS = 2 * FIRST_ASKS_SECS + NEXT_ASKS_SECS + 0.001


def said(group: Group, one: str, other: str, shape: type[Message]) -> list[Message]:
    """What of this shape was handed to the connection, ever."""
    return [m for a, b, m in group.told if (a, b) == (one, other) and isinstance(m, shape)]


def flagged(flag: str, number: int = 7) -> Disk:
    """A disk whose log bears a flag."""
    disk = Disk()
    disk.head = Head(1, flags={flag: number})
    return disk


# --- pre-votes ------------------------------------------------------------------------------------


def test_an_idle_group_elects_one_leader_and_keeps_it(group: Group) -> None:
    group.tick(1.0, steps=100)
    (leader,) = group.leaders()
    term = group[leader].raft.term
    group.tick(30.0, steps=300)
    assert group.leaders() == [leader]
    assert {node.raft.term for node in group.nodes.values()} == {term}


def test_a_pre_vote_changes_nothing_at_whoever_is_asked(group: Group) -> None:
    group.isolate("n1")
    group.flow()
    before = group["n1"].disk.head
    group.say("n2", "n1", PreVote(0, 0, 5, 9, 9))
    group.flow()
    assert group.waiting("n1", "n2")[-1] == PreVoteReply(0, 0, 5, True, False)
    assert (group["n1"].raft.term, group["n1"].raft.vote) == (0, None)
    assert group["n1"].disk.head == before


def test_a_node_that_hears_its_leader_says_no(group: Group) -> None:
    group.elect("n1")
    group.ask("n3")
    group.flow()
    assert [m.granted for m in said(group, "n2", "n3", PreVoteReply)] == [False]  # type: ignore[union-attr]
    assert group.leaders() == ["n1"]
    assert {node.raft.term for node in group.nodes.values()} == {1}


def test_a_shorter_or_older_log_gets_no_pre_vote_and_no_vote(group: Group) -> None:
    group.elect("n1")
    group.submit("n1", [1])
    group.isolate("n2")
    group.tick(1.0)
    last, term = group["n2"].raft.last_index, group["n2"].raft.term
    group["n2"].consensus.elections.deadline = math.inf  # it does not ask itself
    logs = [(last - 1, term, False), (last + 5, term - 1, False), (last, term, True)]
    for number, (index, entry_term, granted) in enumerate(logs, start=1):
        group.loop.now += 2  # the leader is silent
        group.say("n3", "n2", PreVote(term, 0, term + 1, index, entry_term))
        group.flow()
        reply = group.waiting("n2", "n3")[-1]
        assert reply == PreVoteReply(term, 0, term + 1, granted, False), number
    for higher, (index, entry_term, granted) in enumerate(logs, start=term + 1):
        group.say("n3", "n2", Vote(higher, 0, index, entry_term))
        group.flow()
        assert group.waiting("n2", "n3")[-1] == VoteReply(higher, 0, granted, False)


def test_a_node_that_returns_from_a_partition_disturbs_nobody(group: Group) -> None:
    group.elect("n1")
    group.isolate("n3")
    group.tick(20.0, steps=100)
    assert group["n3"].raft.role == FOLLOWER
    assert group["n3"].raft.term == 1, "no pre-vote majority, no new term"
    group.rejoin("n3", lost=False)
    group.tick(5.0, steps=50)
    assert group.leaders() == ["n1"]
    assert {node.raft.term for node in group.nodes.values()} == {1}


# --- a closed connection --------------------------------------------------------------------------


@pytest.mark.parametrize("leader", ["n1", "n2", "n3"])
def test_a_crashed_leader_is_replaced_in_milliseconds(group: Group, leader: str) -> None:
    group.elect(leader)
    group.crash(leader)
    group.tick(BOTH_ASKED_SECS, steps=20)
    assert group.leaders()
    assert group.leaders() != [leader]


@pytest.mark.parametrize("late", ["n2", "n3"])
def test_who_notices_late_that_the_leader_is_gone_costs_no_time_out(
    group: Group, late: str
) -> None:
    """The first to ask is told no by one that has not noticed yet; when that one has, it must get
    the vote of the first."""
    group.elect("n1")
    group.crash("n1", noticed=False)
    early = "n3" if late == "n2" else "n2"
    group.cut("n1", early)
    group.tick(BOTH_ASKED_SECS, steps=20)
    assert group.leaders() == []
    assert said(group, early, late, PreVote), "it has asked"
    group.cut("n1", late)
    group.tick(BOTH_ASKED_SECS, steps=20)
    assert group.leaders(), "both know, and nobody waits for a time-out"


def test_a_flap_of_the_leaders_connection_elects_nobody(group: Group) -> None:
    group.elect("n1")
    for _ in range(5):
        group.cut("n1", "n2")
        group.tick(0.05, steps=5)
        group.connect("n1", "n2")
        group.tick(0.4, steps=4)
    assert group.leaders() == ["n1"]
    assert group["n1"].raft.term == 1


def test_a_silent_leader_is_replaced_within_two_time_outs(group: Group) -> None:
    group.elect("n1")
    group.isolate("n1")
    group.tick(2.0, steps=200)
    (leader,) = [one for one in group.leaders() if one != "n1"]
    assert group[leader].raft.is_leader
    assert group["n1"].raft.role != LEADER, "it hears no majority, and believes no more (A6)"


def test_a_leader_that_hears_nobody_and_is_heard_says_so_when_it_gives_up(group: Group) -> None:
    group.elect("n1")
    group.hold("n2", "n1")
    group.hold("n3", "n1")
    group.tick(FALLBACK - 0.05, steps=145)
    assert group.leaders() == ["n1"]
    group.tick(0.1, steps=100)
    assert group.leaders() in (["n2"], ["n3"]), "nobody waits for another election time-out"


# --- who goes first -------------------------------------------------------------------------------


def test_of_two_that_ask_at_once_one_is_elected_in_the_first_attempt(group: Group) -> None:
    group.flow()
    group.isolate("n3")
    group.ask("n1")
    group.ask("n2")
    group.flow()
    assert group.leaders() == ["n1"]
    assert group["n1"].raft.term == 1


def test_the_longer_log_goes_before_the_lower_name(group: Group) -> None:
    group.elect("n3")
    group.hold("n3", "n1")
    group.submit("n3", [1])
    group.isolate("n3")
    group.tick(1.6)  # n1 and n2 asked already
    group.tick(DENY_SECS)
    group.ask("n1")
    group.ask("n2")
    group.flow()
    group.tick(2.0, steps=50)
    assert group["n2"].raft.is_leader


# --- votes ----------------------------------------------------------------------------------------


def candidate(group: Group) -> int:
    """n1 asks n2 and n3 for their votes, and nobody hears it; the term."""
    for node in group.ids:
        group.isolate(node)
    group.flow()
    group.stands("n1")
    group.flow()
    assert group["n1"].raft.role == CANDIDATE
    return group["n1"].raft.term


def test_a_vote_is_asked_for_and_given_only_from_the_disk(group: Group) -> None:
    group.flow()
    group.slow = {"n1", "n2"}
    group.hold("n1", "n3")
    group.stands("n1")
    group.flow()
    assert not said(group, "n1", "n2", Vote), "term and own vote are not on disk"
    group["n1"].log.finish()
    assert group["n1"].disk.head.vote == "n1"
    group.flow()
    assert said(group, "n1", "n2", Vote)
    assert not said(group, "n2", "n1", VoteReply), "the vote is not on disk"
    group["n2"].log.finish()
    assert (group["n2"].disk.head.term, group["n2"].disk.head.vote) == (1, "n1")
    group.flow()
    assert group["n1"].raft.role == LEADER


def test_a_vote_survives_a_restart(group: Group) -> None:
    term = candidate(group)
    group.say("n1", "n2", Vote(term, 0, 1, 0))
    group.flow()
    assert group["n2"].disk.head.vote == "n1"
    group.crash("n2")
    group.restart("n2")
    group.isolate("n2")
    group.say("n3", "n2", Vote(term, 0, 9, 9))
    group.flow()
    assert group.waiting("n2", "n3")[-1] == VoteReply(term, 0, False, False)
    group.say("n1", "n2", Vote(term, 0, 1, 0))
    group.flow()
    assert group.waiting("n2", "n1")[-1] == VoteReply(term, 0, True, False), "again, the same"


def test_each_member_is_counted_once(make_group: MakeGroup) -> None:
    group = make_group(5)
    term = candidate(group)
    for _ in range(3):
        group.say("n2", "n1", VoteReply(term, 0, True, False))
    assert group["n1"].raft.role == CANDIDATE
    group.say("n3", "n1", VoteReply(term, 0, True, False))
    assert group["n1"].raft.role == LEADER


def test_strangers_refusals_and_older_votes_are_not_counted(make_group: MakeGroup) -> None:
    group = make_group(5)
    candidate(group)
    group.stands("n1")
    group.flow()
    term = group["n1"].raft.term
    for one, reply in (
        ("n9", VoteReply(term, 0, True, False)),
        ("n1", VoteReply(term, 0, True, False)),
        ("n2", VoteReply(term, 0, False, False)),
        ("n3", VoteReply(term - 1, 0, True, False)),
        ("n4", VoteReply(term, 7, True, False)),  # A8: it lost its log
        ("n5", VoteReply(term, 0, True, False)),
    ):
        group.say(one, "n1", reply)
    assert group["n1"].raft.role == CANDIDATE, "its own vote and that of n5"


def test_pre_votes_of_strangers_and_of_nodes_without_log_are_not_counted(
    make_group: MakeGroup,
) -> None:
    group = make_group(5)
    for node in group.ids:
        group.isolate(node)
    group.flow()
    group.ask("n1")
    for one, loss in (("n9", 0), ("n2", 7), ("n3", 7), ("n4", 7), ("n5", 0)):
        group.say(one, "n1", PreVoteReply(0, loss, 1, True, False))
    assert group["n1"].raft.role == FOLLOWER
    group.say("n4", "n1", PreVoteReply(0, 0, 1, True, False))
    assert group["n1"].raft.role == CANDIDATE


# --- terms ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        Newer(9, 0),
        VoteReply(9, 0, True, False),
        PreVoteReply(9, 0, 10, True, False),
        PreVote(9, 0, 10, 0, 0),
        Heartbeat(9, 0, 1, 0, 0, 0, 0, 0),
    ],
)
def test_a_higher_term_in_any_message_is_adopted_first(group: Group, message: Message) -> None:
    group.elect("n1")
    group.isolate("n1")
    group.say("n2", "n1", message)
    assert group["n1"].raft.term == 9
    assert group["n1"].raft.role == FOLLOWER
    assert group["n1"].leaderships[-1] is False
    group.flow()
    assert group["n1"].disk.head.term == 9


@pytest.mark.parametrize("term", [2**63 - 1, 2**62, TERM_LEAP_MAX + 2])
def test_a_term_that_no_elections_can_have_reached_is_refused(group: Group, term: int) -> None:
    """With the last term that a message can tell, nobody could ever stand again."""
    group.elect("n1")
    for message in (
        Newer(term, 0),
        Heartbeat(term, 0, 1, 0, 0, 0, 0, 0),
        Vote(term, 0, 99, term),
        PreVote(term, 0, 1, 99, term),
    ):
        group.say("n2", "n1", message)
        group.say("n1", "n3", message)
    group.flow()
    assert group.leaders() == ["n1"]
    assert {node.raft.term for node in group.nodes.values()} == {1}
    group.crash("n1")
    group.tick(3.0, steps=100)
    (leader,) = group.leaders()
    assert group[leader].raft.is_leader
    assert 1 < group[leader].raft.term < 10


def test_the_highest_term_that_is_taken(group: Group) -> None:
    group.elect("n1")
    group.say("n2", "n1", Newer(1 + TERM_LEAP_MAX, 0))
    group.flow()
    assert group["n1"].raft.term == 1 + TERM_LEAP_MAX
    group.tick(10.0, steps=100)
    (leader,) = group.leaders()
    assert group[leader].raft.term > 1 + TERM_LEAP_MAX


def test_an_entry_of_a_term_after_its_leaders_is_refused(group: Group) -> None:
    """At the next start the last entry's term would be this node's."""
    group.elect("n1")
    group.isolate("n3")
    last = group["n3"].raft.last_index
    append = Append(1, 0, last, 1, last, 0, [(2**63 - 1, b"\1"), (1, b"\1")])
    group.say("n1", "n3", append)
    group.flow()
    assert group["n3"].raft.last_index == last
    group.say("n1", "n3", append._replace(entries=[(1, b"\1")]))
    group.flow()
    assert group["n3"].raft.last_index == last + 1


def test_requests_of_a_lower_term_are_answered_with_the_higher_one(group: Group) -> None:
    group.isolate("n1")
    group.say("n2", "n1", Newer(5, 0))
    group.flow()
    for request, answer in (
        (Vote(4, 0, 9, 9), VoteReply(5, 0, False, False)),
        (PreVote(4, 0, 5, 9, 9), PreVoteReply(5, 0, 5, False, False)),
        (Heartbeat(4, 0, 1, 0, 0, 0, 0, 0), Newer(5, 0)),
    ):
        group.say("n2", "n1", request)
        assert group.waiting("n1", "n2")[-1] == answer
    count = len(group.waiting("n1", "n2"))
    group.say("n2", "n1", VoteReply(4, 0, True, False))
    assert len(group.waiting("n1", "n2")) == count, "answers of a lower term are dropped"


def test_a_deposed_leader_leaves_the_election_to_those_who_stand(group: Group) -> None:
    """It hears of the new term before the candidate reaches it, and must not stand against it."""
    group.elect("n1")
    group.tick(10.0, steps=40)  # its own election timer was set long ago
    group.isolate("n1")
    group.say("n3", "n1", Newer(2, 0))
    group.flow()
    assert not [m for m in group.waiting("n1", "n2") if isinstance(m, PreVote)]
    group.tick(0.9, steps=9)
    assert not [m for m in group.waiting("n1", "n2") if isinstance(m, PreVote)]


# --- without a log, and uncertain -----------------------------------------------------------------


def test_a_node_without_log_never_stands_and_its_vote_elects_nobody(make_group: MakeGroup) -> None:
    group = make_group(disks={"n1": flagged(NON_VOTING_FLAG)})
    group.crash("n3")
    group.tick(20.0, steps=200)
    assert group["n1"].consensus.elections.count == 0
    assert group["n2"].consensus.elections.count == 0, "no pre-vote majority"
    group.restart("n3")
    group.tick(3.0, steps=30)
    assert group.leaders()[0] in ("n2", "n3")


def test_an_uncertain_node_elects_where_all_vote_alike(make_group: MakeGroup) -> None:
    """A power cut left all three without a readable witness: they come back by themselves."""
    disks = {f"n{number}": flagged(UNCERTAIN_FLAG, number) for number in (1, 2, 3)}
    group = make_group(disks=disks)
    group.tick(4.0, steps=80)
    (leader,) = group.leaders()
    assert group[leader].raft.is_leader
    group.submit(leader, [1])
    group.tick(2.0, steps=20)
    assert 1 in group[leader].accepted()
    assert [disks[one].head.flags for one in group.ids] == [{}, {}, {}]


def test_an_uncertain_leader_that_sure_members_elected_becomes_whole(
    make_group: MakeGroup,
) -> None:
    """It does not count itself until the others hold its no-op and its flag is off the disk."""
    disk = flagged(UNCERTAIN_FLAG)
    group = make_group(5, disks={"n1": disk})
    group.crash("n5")
    group["n1"].consensus.elections.stand()
    group["n1"].driver.wake()
    group.flow()
    assert group.leaders() == ["n1"]
    assert disk.head.flags == {}
    for one in ("n3", "n4"):
        group.crash(one)
    group.submit("n1", [1])
    assert 1 not in group["n1"].accepted(), "two of five"
    group.restart("n3")
    group.tick(0.6, steps=6)
    assert 1 in group["n1"].accepted(), "the leader is one of three"


def test_an_uncertain_vote_is_none_where_not_all_vote(make_group: MakeGroup) -> None:
    group = make_group(disks={"n1": flagged(UNCERTAIN_FLAG)})
    group.crash("n3")
    group.tick(20.0, steps=100)
    assert group.leaders() == []
    group.restart("n3")
    group.tick(3.0, steps=30)
    assert group.leaders()


def test_a_leader_whose_disk_fails_says_so_and_is_replaced_at_once(make_group: MakeGroup) -> None:
    group = make_group()
    leader = group.elect("n1")
    group.slow.add("n1")
    group.submit("n1", [1])
    assert leader.log.fail(written=False)
    group.doomed.add("n1")
    group.tick(0.06, steps=60)
    others = [one for one in group.leaders() if one != "n1"]
    assert others, "60 ms are enough: nobody waits for the election time-out"


def test_a_leader_whose_disk_hangs_lets_another_lead(make_group: MakeGroup) -> None:
    group = make_group()
    leader = group.elect("n1")
    group.slow.add("n1")
    group.submit("n1", [1])
    group.tick(0.95, steps=19)
    assert group.leaders() == ["n1"], "a slow disk is no dead one"
    group.tick(0.3, steps=12)
    assert group.leaders() in (["n2"], ["n3"])
    assert leader.raft.role != LEADER
