"""A3, A6, A8, A14: what a leader counts, whom it believes, and when it is sure that it leads."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cluster.replication.digests import WINDOW
from cluster.replication.leading import StateDiverged
from cluster.replication.messages import (
    Ack,
    Append,
    Diverged,
    Heartbeat,
    HeartbeatReply,
    Message,
    Reject,
    VoteReply,
)
from cluster.replication.progress import Stage
from cluster.replication.raft_state import LEADER
from tests.unit.replication.group_rig import Group, refusals
from tests.unit.replication.rig import Rig

MakeGroup = Callable[..., Group]


class Leader:
    """n1 leads, and the test speaks for the others."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.node = group.elect("n1")
        group.tick(0.5, steps=5)
        group.speak_for(*group.ids[1:])
        self.term = self.node.raft.term

    @property
    def last(self) -> int:
        """The end of its log."""
        return self.node.raft.last_index

    @property
    def commit(self) -> int:
        """What it has committed."""
        return self.node.raft.commit_index

    def submit(self, *tags: int) -> int:
        """Proposes; the index of the last entry, which is on its own disk."""
        for tag in tags:
            self.node.submit(tag)
            self.group.flow()
        return self.last

    def hear(self, peer: str, message: Message) -> None:
        """A message of a peer."""
        self.group.say(peer, "n1", message)
        self.group.flow()

    def ack(self, peer: str, match: int, *, loss: int = 0) -> None:
        """The peer's disk holds so much."""
        self.hear(peer, Ack(self.term, loss, match, 0))

    def answer(
        self,
        peer: str,
        number: int | None = None,
        *,
        loss: int = 0,
        match: int = 0,
        ends_at: int | None = None,
        digest: tuple[int, int] = (0, 0),
    ) -> None:
        """The answer to a heartbeat, the last one that was sent unless told otherwise, of a peer
        whose log is as long as the leader's unless told otherwise."""
        ends_at = self.last if ends_at is None else ends_at
        if number is None:
            number = max((one.round for one in self.beats(peer)), default=0)
        reply = HeartbeatReply(self.term, loss, number, 0, match, match, ends_at, 0, 0, *digest)
        self.hear(peer, reply)

    def beats(self, peer: str) -> list[Heartbeat]:
        """Heartbeats on their way to the peer."""
        return [one for one in self.group.waiting("n1", peer) if isinstance(one, Heartbeat)]


@pytest.fixture
def leader(group: Group) -> Leader:
    """Of three."""
    return Leader(group)


@pytest.fixture
def of_five(make_group: MakeGroup) -> Leader:
    """Of five."""
    return Leader(make_group(5))


# --- commit (Raft figure 2) -----------------------------------------------------------------------


def test_a_majority_on_disk_commits_and_the_own_disk_is_one_of_them(leader: Leader) -> None:
    leader.group.slow.add("n1")
    leader.node.submit(1)
    last = leader.last
    leader.ack("n2", last)
    assert leader.commit == last - 1, "n2 and nobody else: the own disk has not got it"
    assert leader.node.log.finish()
    leader.group.flow()
    assert leader.commit == last
    assert 1 in leader.node.accepted()


def test_what_two_others_hold_is_committed_but_not_applied_before_the_own_disk(
    leader: Leader,
) -> None:
    leader.group.slow.add("n1")
    leader.node.submit(1)
    last = leader.last
    leader.ack("n2", last)
    leader.ack("n3", last)
    assert leader.commit == last
    assert leader.node.raft.applied_index == last - 1
    assert 1 not in leader.node.answers
    assert leader.node.log.finish()
    assert 1 in leader.node.accepted()


def test_in_five_nodes_three_disks_are_a_majority(of_five: Leader) -> None:
    last = of_five.submit(1)
    of_five.ack("n2", last)
    of_five.ack("n2", last)
    assert of_five.commit == last - 1, "one peer counts once"
    of_five.ack("n9", last)
    of_five.ack("n1", last)
    assert of_five.commit == last - 1, "strangers do not count"
    of_five.ack("n3", last)
    assert of_five.commit == last


def test_an_older_acknowledgement_takes_nothing_back(leader: Leader) -> None:
    last = leader.submit(1, 2, 3)
    leader.ack("n2", last)
    leader.ack("n2", last - 2)
    leader.hear("n2", Reject(leader.term, 0, last - 1, 1))
    assert leader.commit == last
    leading = leader.node.consensus.leading
    assert leading is not None
    assert (leading.peers["n2"].match, leading.peers["n2"].next_index) == (last, last + 1)


def test_a_peer_whose_log_lost_what_it_acknowledged_gets_it_again(leader: Leader) -> None:
    """Seed 110326: the end of its log went bad, and a power cut made its witness older."""
    last = leader.submit(1, 2, 3)
    leader.ack("n2", last)
    leader.ack("n3", last)
    leader.group.waiting("n1", "n2").clear()
    leader.group.tick(0.5, steps=5)
    leader.answer("n2", ends_at=last - 2)
    leading = leader.node.consensus.leading
    assert leading is not None
    peer = leading.peers["n2"]
    assert peer.match == 0, "what it acknowledged is gone"
    assert leader.commit == last, "what was committed stays so"
    sent = [one for one in leader.group.waiting("n1", "n2") if isinstance(one, Append)]
    assert sent[-1].prev_index == last - 2
    assert len(sent[-1].entries) == 2
    leader.ack("n2", last)
    assert peer.match == last


def test_acknowledgements_of_an_older_term_do_not_count(leader: Leader) -> None:
    last = leader.submit(1)
    leader.hear("n2", Ack(leader.term - 1, 0, last, 0))
    assert leader.commit == last - 1


def test_entries_of_an_older_term_are_committed_by_one_of_this_term(group: Group) -> None:
    """Raft figure 8: n1 has an entry of its own older term that a majority holds."""
    group.elect("n1")
    group.speak_for("n2", "n3")
    group["n1"].submit(1)
    group.flow()
    old = group["n1"].raft.last_index
    group.tick(1.7, steps=17)
    group.stands("n1")
    group.flow()
    term = group["n1"].raft.term
    assert term > 1
    group.say("n2", "n1", VoteReply(term, 0, True, False))
    assert group["n1"].raft.role == LEADER
    group.flow()
    group.say("n2", "n1", Ack(term, 0, old, 0))
    group.say("n3", "n1", Ack(term, 0, old, 0))
    assert group["n1"].raft.commit_index < old
    group.say("n2", "n1", Ack(term, 0, old + 1, 0))
    assert group["n1"].raft.commit_index == old + 1


# --- ready to lead (A6) ---------------------------------------------------------------------------


def test_a_leader_proposes_and_reads_only_after_its_no_op_is_applied(group: Group) -> None:
    group.flow()
    group.hold("n2", "n1")
    group.hold("n3", "n1")
    group.ask("n1")
    while not any(one.raft.vote == "n1" for one in (group["n2"], group["n3"])):
        for one in ("n2", "n3"):
            if group.queues[one, "n1"]:
                group.deliver(one, "n1")
        group.flow()
    group.deliver("n2", "n1", len(group.queues["n2", "n1"]))
    group.flow()
    node = group["n1"]
    assert (node.raft.role, node.raft.is_leader, node.leaderships) == (LEADER, False, [])
    heard: list[bool] = []
    last = node.raft.last_index
    node.driver.read(heard.append)
    node.submit(1)
    group.flow()
    assert node.raft.last_index == last, "nothing is proposed behind a no-op that may be lost"
    assert not heard
    group.let_go("n2", "n1")
    group.flow()
    assert node.raft.is_leader
    assert heard == [True]
    assert 1 in node.accepted()


# --- reads (A6) -----------------------------------------------------------------------------------


def read(leader: Leader) -> list[bool]:
    """Asks for a read; what it hears."""
    heard: list[bool] = []
    leader.node.driver.read(heard.append)
    leader.group.flow()
    return heard


def test_a_read_waits_for_a_majority_to_answer_a_heartbeat_sent_after_it(leader: Leader) -> None:
    before = leader.beats("n2")[-1].round if leader.beats("n2") else 0
    heard = read(leader)
    (asked,) = [one.round for one in leader.beats("n2") if one.round > before]
    leader.answer("n2", asked - 1)
    assert not heard, "that heartbeat was sent before the read"
    leader.answer("n9", asked)
    leader.answer("n1", asked)
    assert not heard
    leader.answer("n2", asked)
    assert heard == [True]


def test_a_read_in_five_nodes_needs_three_and_answers_of_one_term(of_five: Leader) -> None:
    heard = read(of_five)
    of_five.answer("n2")
    of_five.answer("n2")
    assert not heard
    number = of_five.beats("n3")[-1].round
    reply = HeartbeatReply(of_five.term - 1, 0, number, 0, 0, 0, 0, 0, 0, 0, 0)
    of_five.hear("n3", reply)
    assert not heard
    of_five.answer("n4", loss=7)
    assert not heard, "A8: its answer counts for nothing"
    of_five.answer("n3")
    assert heard == [True]


def test_a_read_waits_until_what_was_committed_is_applied(leader: Leader) -> None:
    leader.group.slow.add("n1")
    leader.node.submit(1)
    leader.ack("n2", leader.last)
    leader.ack("n3", leader.last)
    assert leader.commit == leader.last
    heard = read(leader)
    leader.answer("n2")
    assert not heard, "committed by the others and not applied here"
    leader.node.log.finish()
    leader.group.flow()
    assert heard == [True]


def test_a_deposed_leader_answers_reads_with_no(leader: Leader) -> None:
    heard = read(leader)
    leader.hear("n3", Reject(leader.term + 1, 0, 1, 1))
    assert heard == [False]
    assert read(leader) == [False]


def test_a_leader_that_stops_answers_reads_with_no(leader: Leader) -> None:
    heard = read(leader)
    task = leader.group.loop.create_task(leader.node.driver.stop())
    leader.group.tick(0.1, steps=10)
    assert task.done()
    assert heard == [False]
    assert leader.node.leaderships[-1] is False
    assert leader.node.leaders[-1] == ""


def test_a_leader_that_hears_no_majority_steps_down_and_says_unknown(leader: Leader) -> None:
    leader.node.submit(1)
    heard = read(leader)
    leader.group.tick(1.0, steps=10)
    assert leader.node.raft.role == LEADER
    leader.group.tick(0.6, steps=6)
    assert leader.node.raft.role != LEADER
    assert heard == [False]
    refused = refusals(leader.node)
    assert refused[1].unknown
    leader.node.submit(2)
    leader.group.flow()
    assert not refusals(leader.node)[2].unknown, "certainly not carried out"


def test_one_answer_is_a_majority_of_three_and_keeps_it_leading(leader: Leader) -> None:
    for _ in range(30):
        leader.group.tick(0.3)
        leader.answer("n2")
    assert leader.node.raft.is_leader
    for _ in range(8):
        leader.group.tick(0.3)
        leader.answer("n2", loss=7)
    assert leader.node.raft.role != LEADER, "A8: it counts for nothing"


# --- a member that lost its log (A8) --------------------------------------------------------------


def clears(leader: Leader, peer: str) -> tuple[int, int]:
    """(flag, entry) that the last heartbeat lets the peer clear."""
    leader.group.tick(0.3)
    beat = leader.beats(peer)[-1]
    return beat.clear, beat.clear_index


def test_the_flag_of_a_lost_log_is_cleared_only_by_a_new_entry_that_others_committed(
    leader: Leader,
) -> None:
    leader.ack("n3", leader.last)
    last = leader.last
    leader.answer("n3", loss=7)
    named = leader.last
    assert named == last + 1, "a no-op is proposed at once"
    leading = leader.node.consensus.leading
    assert leading is not None
    assert leading.peers["n3"].match == 0, "what it had acknowledged is forgotten"
    assert clears(leader, "n3") == (0, 0)
    leader.ack("n3", named, loss=7)
    assert leader.commit < named, "its acknowledgement counts for nothing"
    assert clears(leader, "n3") == (0, 0)
    leader.ack("n2", named)
    assert leader.commit == named
    assert clears(leader, "n3") == (7, named)
    assert clears(leader, "n2") == (0, 0)
    leader.answer("n3", loss=7, match=named)
    assert leader.last == named, "one no-op for one loss"
    leader.answer("n3", loss=0, match=named)
    assert clears(leader, "n3") == (0, 0)
    last = leader.submit(1)
    leader.ack("n3", last)
    assert leader.commit == last, "it counts again"


def test_a_second_loss_needs_a_second_entry(leader: Leader) -> None:
    leader.answer("n3", loss=7)
    first = leader.last
    leader.ack("n2", first)
    assert clears(leader, "n3") == (7, first)
    leader.answer("n3", loss=8)
    second = leader.last
    assert second == first + 1
    assert clears(leader, "n3") == (0, 0), "the entry of the first loss clears nothing now"
    leader.ack("n2", second)
    assert clears(leader, "n3") == (8, second)


def test_one_down_and_one_without_log_commit_nothing(leader: Leader) -> None:
    leader.answer("n3", loss=7)
    last = leader.submit(1)
    for _ in range(4):
        leader.ack("n3", last, loss=7)
        leader.answer("n3", loss=7, match=last)
        leader.group.tick(0.3)
    assert leader.commit < last
    assert 1 not in leader.node.accepted()


# --- digests (A14) --------------------------------------------------------------------------------


def applied(leader: Leader, digests: dict[int, int]) -> None:
    """The leader's state had these digests."""
    leader.node.applier.digests._kept.update(digests)


def diverged(leader: Leader, peer: str) -> list[int]:
    """The indices at which the peer was told to differ."""
    return [one.at for one in leader.group.waiting("n1", peer) if isinstance(one, Diverged)]


def test_a_member_that_differs_from_most_is_told_to_stop(leader: Leader) -> None:
    applied(leader, {64: 55})
    leader.answer("n3", digest=(64, 1))
    leader.answer("n3", digest=(64, 1))
    assert not diverged(leader, "n3"), "it is one against one"
    leader.answer("n2", digest=(64, 55))
    leader.answer("n3", digest=(64, 1))
    assert diverged(leader, "n3") == [64]
    assert not diverged(leader, "n2")
    assert leader.node.raft.is_leader


def test_a_silent_member_is_not_taken_for_one_that_agrees(leader: Leader) -> None:
    """The leader's own state may be the damaged one: n2 alone does not tell."""
    applied(leader, {64: 55})
    for _ in range(5):
        leader.answer("n2", digest=(64, 1))
        leader.answer("n3", digest=(0, 0))
    assert not diverged(leader, "n2")


def test_nobody_gives_up_its_state_at_the_word_of_one_that_lost_its_log(leader: Leader) -> None:
    """n3 would be the second of three without a vote."""
    applied(leader, {64: 55})
    leader.answer("n2", digest=(64, 55), loss=7)
    leader.answer("n3", digest=(64, 1))
    assert not diverged(leader, "n3")
    leader.answer("n2", digest=(64, 55))
    leader.answer("n3", digest=(64, 1))
    assert diverged(leader, "n3") == [64]


def test_a_leader_does_not_stop_at_the_word_of_one_that_lost_its_log(leader: Leader) -> None:
    applied(leader, {64: 55})
    leader.group.doomed.add("n1")
    leader.answer("n2", digest=(64, 1))
    leader.answer("n3", digest=(64, 1), loss=7)
    assert not leader.node.failures
    leader.answer("n3", digest=(64, 1))
    assert [type(error) for error in leader.node.failures] == [StateDiverged]


def test_a_leader_that_differs_from_most_stops_itself(leader: Leader) -> None:
    applied(leader, {64: 55})
    leader.group.doomed.add("n1")
    leader.answer("n2", digest=(64, 1))
    assert not leader.node.failures
    leader.answer("n3", digest=(64, 1))
    assert [type(error) for error in leader.node.failures] == [StateDiverged]


def test_a_member_that_was_given_another_state_differs_no_more(leader: Leader) -> None:
    """A digest takes in everything since the first entry: two that agree have the same history."""
    applied(leader, {64: 55, 128: 66})
    leader.answer("n3", digest=(64, 1))
    leader.answer("n3", digest=(128, 66))
    leader.answer("n2", digest=(128, 66))
    leader.answer("n3", digest=(128, 66))
    assert not diverged(leader, "n3")


def test_a_member_that_came_back_is_compared_anew(leader: Leader) -> None:
    applied(leader, {64: 55, 128: 66})
    leader.answer("n3", digest=(64, 1))
    leader.group.cut("n1", "n3")
    leader.group.connect("n1", "n3")
    leader.group.flow()
    assert leader.node.consensus.leading.differing == {}  # type: ignore[union-attr]
    leader.answer("n2", digest=(128, 66))
    leader.answer("n3", digest=(128, 1))
    assert diverged(leader, "n3") == [128]


def test_a_member_stops_when_its_leader_says_so_and_at_nobody_elses_word(group: Group) -> None:
    group.elect("n1")
    group.tick(0.5)
    group.isolate("n3")
    term = group["n3"].raft.term
    group.say("n2", "n3", Diverged(term, 0, 5))
    assert not group["n3"].failures
    group.doomed.add("n3")
    group.say("n1", "n3", Diverged(term, 0, 5))
    assert [type(error) for error in group["n3"].failures] == [StateDiverged]


def differ(group: Group, node_id: str) -> None:
    """The entry that comes next wrote something else there."""
    digests = group[node_id].applier.digests
    digests.digest ^= 1


@pytest.mark.parametrize("place", [0, 1, WINDOW - 1])
def test_one_entry_that_wrote_something_else_is_found_under_load(group: Group, place: int) -> None:
    """A heartbeat comes once in several windows, and none tells of the one with the difference."""
    group.elect("n1")
    group.submit("n1", range(1, WINDOW + place))
    differ(group, "n3")
    group.doomed.add("n3")
    group.submit("n1", range(1000, 1000 + 5 * WINDOW))
    assert not group["n3"].failures, "no heartbeat yet"
    group.tick(0.6, steps=2)
    group.tick(0.6, steps=2)
    assert [type(error) for error in group["n3"].failures] == [StateDiverged]
    assert not group["n1"].failures
    assert not group["n2"].failures


def test_a_difference_is_found_after_a_restart(group: Group) -> None:
    """It happened in an earlier life of the process, before anybody could compare."""
    group.elect("n1")
    group.submit("n1", range(1, 20))
    differ(group, "n3")
    group.submit("n1", range(20, 40))
    group.tick(1.5, steps=5)
    assert group["n3"].disk.state_index > 20
    group.crash("n3")
    group.restart("n3")
    group.doomed.add("n3")
    group.submit("n1", range(100, 100 + WINDOW))
    group.tick(0.9, steps=3)
    assert [type(error) for error in group["n3"].failures] == [StateDiverged]


def test_nodes_that_restart_anywhere_agree(group: Group) -> None:
    """The digest on disk is that of the state on disk, whatever the log has above it."""
    group.elect("n1")
    for start in range(0, 600, 60):
        group.submit("n1", range(start, start + 60))
        group.tick(0.4, steps=2)
        group.crash("n3")
        group.restart("n3")
        group.flow()
    group.tick(0.9, steps=3)
    assert len({node.applier.digests.latest for node in group.nodes.values()}) == 1
    assert group["n3"].applier.digests.latest[0] > 500


# --- sending --------------------------------------------------------------------------------------


def test_entries_leave_at_once_while_the_own_disk_is_busy(leader: Leader) -> None:
    leader.group.slow.add("n1")
    leader.node.submit(1)
    leader.group.flow()
    appends = [one for one in leader.group.waiting("n1", "n2") if isinstance(one, Append)]
    assert appends[-1].prev_index + len(appends[-1].entries) == leader.last
    assert leader.node.disk.head.last == leader.last - 1


def test_heartbeats_go_out_while_the_disk_hangs(leader: Leader) -> None:
    leader.group.slow.add("n1")
    leader.node.submit(1)
    count = len(leader.beats("n2"))
    leader.group.tick(1.2, steps=12)
    assert len(leader.beats("n2")) >= count + 3


def test_a_peer_that_needs_what_the_log_has_dropped_gets_a_state(group: Group) -> None:
    node: Rig = group.elect("n1")
    group.crash("n3")
    group.submit("n1", range(1, 20))
    group.tick(3.0, steps=12)
    node.journal.drop_below(15)
    node.driver.wake()
    group.flow()
    group.restart("n3")
    group.tick(1.0, steps=10)
    assert node.lagging == ["n3"]
    leading = node.consensus.leading
    assert leading is not None
    assert leading.peers["n3"].stage is Stage.SNAPSHOT
    assert group.leaders() == ["n1"], "heartbeats go on"


def test_a_leader_tells_nobody_what_only_its_state_holds(group: Group) -> None:
    """Seed 1000196: n2 was given a state and leads; n3 lacks just the last entry in it, for which
    the log of n2 has a stand-in. As an entry it would be another one than what was committed."""
    group.elect("n2")
    group.submit("n2", range(1, 6))
    group.tick(0.5, steps=5)
    node = group["n2"]
    last = node.raft.last_index
    terms = (node.raft.term_at(last - 1), node.raft.term_at(last))
    group.crash("n3", noticed=True)
    node.journal.drop_below(last)
    node.journal._stand_ins_end = last
    leading = node.consensus.leading
    assert leading is not None
    assert (node.journal.first_index, node.journal.base_index) == (last - 1, last)
    assert terms == (1, 1)
    group.restart("n3")
    peer = leading.peers["n3"]
    peer.forget(last)  # it has everything but the last entry
    peer.connected = True
    node.driver.wake()
    group.loop.settle()
    assert node.lagging[-1:] == ["n3"]
    assert peer.stage is Stage.SNAPSHOT
