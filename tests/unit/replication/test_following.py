"""A3: what a follower does with appends and heartbeats, whatever comes in whatever order."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cluster.replication.messages import (
    Ack,
    Append,
    Heartbeat,
    HeartbeatReply,
    Message,
    Newer,
    Reject,
)
from cluster.replication.raft import NO_OP
from tests.unit.replication.group_rig import Group

MakeGroup = Callable[..., Group]
TERM = 3  # of the leader that speaks
HELD = [0, 1, 1, 2]  # terms of the entries 1 to 4 that the follower holds


class Follower:
    """n1, to whom n2 speaks as a leader; n3 is not there."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.node = group["n1"]
        group.isolate("n1")
        group.flow()

    def hear(self, message: Message) -> list[Message]:
        """Takes a message and everything that follows from it; what is answered to n2."""
        self.group.say("n2", "n1", message)
        self.group.flow()
        return self.answers()

    def answers(self) -> list[Message]:
        """What it has said to n2 since the last look."""
        said = self.group.waiting("n1", "n2")
        self.group.drop("n1", "n2")
        return said

    @property
    def terms(self) -> list[int]:
        """Terms of its entries."""
        return [term for _, term, _ in self.group.entries("n1")]


def append(prev: int, prev_term: int, terms: list[int], *, term: int, commit: int = 1) -> Append:
    """No-ops of these terms after (prev, prev_term)."""
    return Append(term, 0, prev, prev_term, commit, 0, [(one, NO_OP) for one in terms])


def beat(commit: int, *, term: int = TERM, number: int = 1) -> Heartbeat:
    """A heartbeat that clears nothing."""
    return Heartbeat(term, 0, number, 0, commit, 0, 0, 0)


@pytest.fixture
def follower(group: Group) -> Follower:
    """Holds HELD of the leader of term 2; nothing but entry 1 is committed."""
    made = Follower(group)
    made.hear(append(1, 0, HELD[1:], term=2))
    assert made.terms == HELD
    return made


@pytest.mark.parametrize(
    ("prev", "prev_term", "terms", "log", "match"),
    [
        pytest.param(4, 2, [3, 3], [0, 1, 1, 2, 3, 3], 6, id="fits"),
        pytest.param(4, 2, [], HELD, 4, id="empty, and the logs agree"),
        pytest.param(3, 1, [2], HELD, 4, id="held already"),
        pytest.param(1, 0, [1, 1], HELD, 3, id="held already, and more behind it"),
        pytest.param(2, 1, [], HELD, 2, id="empty, and nothing is cut"),
        pytest.param(3, 1, [2, 3], [0, 1, 1, 2, 3], 5, id="overlaps"),
        pytest.param(3, 1, [3], [0, 1, 1, 3], 4, id="conflict at the end"),
        pytest.param(1, 0, [1, 3, 3, 3], [0, 1, 3, 3, 3], 5, id="conflict in the middle"),
        pytest.param(1, 0, [3], [0, 3], 2, id="a shorter log takes its place"),
    ],
)
def test_an_append_that_fits(
    follower: Follower, prev: int, prev_term: int, terms: list[int], log: list[int], match: int
) -> None:
    acks = follower.hear(append(prev, prev_term, terms, term=TERM))
    assert {type(ack) for ack in acks} == {Ack}
    matches = [ack.match for ack in acks if isinstance(ack, Ack)]
    assert matches[-1] == max(matches) == match
    assert follower.terms == log
    assert [term for _, term, _ in follower.node.disk.entries()] == log


@pytest.mark.parametrize(
    ("prev", "prev_term", "hint"),
    [
        pytest.param(5, 3, 4, id="gap"),
        pytest.param(9, 3, 4, id="wide gap"),
        pytest.param(4, 3, 1, id="another entry there"),
        pytest.param(3, 2, 1, id="another entry in the middle"),
    ],
)
def test_an_append_that_does_not_fit(
    follower: Follower, prev: int, prev_term: int, hint: int
) -> None:
    answers = follower.hear(append(prev, prev_term, [3, 3], term=TERM, commit=9))
    assert answers == [Reject(TERM, 0, prev, hint)]
    assert follower.terms == HELD
    assert follower.node.raft.commit_index == 1
    assert follower.node.consensus.following.verified == 0


@pytest.mark.parametrize(
    ("prev", "prev_term", "terms", "commit", "committed"),
    [
        (1, 0, [1], 4, 2),  # what is behind the append was not verified
        (1, 0, [1, 1], 2, 2),  # what the leader has not committed is not
        (4, 2, [], 9, 4),
        (4, 2, [3], 5, 5),
    ],
)
def test_commit_is_at_most_what_was_verified(
    follower: Follower, prev: int, prev_term: int, terms: list[int], commit: int, committed: int
) -> None:
    follower.hear(append(prev, prev_term, terms, term=TERM, commit=commit))
    assert follower.node.raft.commit_index == committed


def test_commit_never_goes_back(follower: Follower) -> None:
    follower.hear(append(4, 2, [], term=TERM, commit=4))
    follower.hear(append(4, 2, [3], term=TERM, commit=2))
    assert follower.node.raft.commit_index == 4


def test_a_heartbeat_alone_commits_nothing(follower: Follower) -> None:
    (answer,) = follower.hear(beat(4))
    assert isinstance(answer, HeartbeatReply)
    assert (answer.round, answer.verified, answer.match, answer.last) == (1, 0, 0, 4)
    assert follower.node.raft.commit_index == 1
    follower.hear(append(2, 1, [], term=TERM))
    (answer,) = follower.hear(beat(4, number=2))
    assert isinstance(answer, HeartbeatReply)
    assert (answer.round, answer.verified, answer.match, answer.last) == (2, 2, 2, 4)
    assert follower.node.raft.commit_index == 2


def test_an_empty_append_that_comes_late_cuts_nothing(follower: Follower) -> None:
    """PySyncObj would truncate everything behind it, acknowledged long ago."""
    follower.hear(append(4, 2, [3, 3, 3], term=TERM))
    (ack,) = follower.hear(append(4, 2, [], term=TERM))
    assert isinstance(ack, Ack)
    assert ack.match == 7, "what was verified before is verified still"
    assert follower.terms == [*HELD, 3, 3, 3]


@pytest.mark.parametrize(
    ("prev", "prev_term", "terms"),
    [
        pytest.param(2, 1, [3], id="the last one committed"),
        pytest.param(1, 0, [3, 3, 3, 3, 3], id="all of them"),
        pytest.param(3, 2, [3], id="the one before the first"),
    ],
)
def test_a_conflict_below_the_commit_index_is_a_bug_and_stops(
    follower: Follower, prev: int, prev_term: int, terms: list[int]
) -> None:
    follower.hear(append(4, 2, [], term=TERM, commit=3))
    follower.group.doomed.add("n1")
    assert not follower.hear(append(prev, prev_term, terms, term=TERM, commit=3))
    assert [type(one) for one in follower.node.failures] == [AssertionError]
    assert follower.terms == HELD


def test_a_conflict_right_behind_the_commit_index_is_none_of_its_business(
    follower: Follower,
) -> None:
    follower.hear(append(4, 2, [], term=TERM, commit=3))
    follower.hear(append(2, 1, [1, 3, 3], term=TERM, commit=3))
    assert follower.terms == [0, 1, 1, 3, 3]


def test_an_acknowledgement_waits_for_the_disk(follower: Follower) -> None:
    group, node = follower.group, follower.node
    group.slow.add("n1")
    assert follower.hear(append(4, 2, [2], term=2)) == []
    (answer,) = follower.hear(beat(5, term=2))
    assert isinstance(answer, HeartbeatReply)
    assert (answer.verified, answer.match) == (5, 4), "verified, but not on disk"
    assert follower.hear(append(5, 2, [2, 2], term=2, commit=5)) == []
    assert node.raft.commit_index == 5
    assert node.raft.applied_index == 4, "nothing is applied before it is on the own disk"
    assert node.log.finish()
    (ack,) = follower.answers()
    assert isinstance(ack, Ack)
    assert ack.match == 5
    assert node.raft.applied_index == 5
    assert node.log.finish()
    (ack,) = follower.answers()
    assert isinstance(ack, Ack)
    assert ack.match == 7


def test_an_entry_that_took_the_place_of_one_being_flushed_is_not_acknowledged_with_it(
    follower: Follower,
) -> None:
    group, node = follower.group, follower.node
    group.slow.add("n1")
    follower.hear(append(4, 2, [2, 2], term=2))  # 5 and 6 are on their way to the disk
    follower.hear(append(4, 2, [3], term=TERM))  # and 5 is another one now
    assert node.log.finish()
    assert all(one.match <= 4 for one in follower.answers() if isinstance(one, Ack))
    assert node.log.finish()
    acks = [one.match for one in follower.answers() if isinstance(one, Ack)]
    assert acks[-1] == 5
    assert [term for _, term, _ in node.disk.entries()] == [*HELD, 3]


def test_a_new_term_is_on_disk_before_anything_is_said_in_it(follower: Follower) -> None:
    group, node = follower.group, follower.node
    group.slow.add("n1")
    assert follower.hear(beat(1)) == []
    assert follower.hear(append(9, 3, [], term=TERM)) == []
    assert node.disk.head.term == 2
    assert node.log.finish()
    assert node.disk.head.term == TERM
    assert {type(one) for one in follower.answers()} == {HeartbeatReply, Reject}


def test_a_leader_of_a_lower_term_hears_the_higher_one_and_changes_nothing(
    follower: Follower,
) -> None:
    follower.hear(beat(1))
    for message in (append(4, 2, [2], term=2, commit=4), beat(4, term=2)):
        assert follower.hear(message) == [Newer(TERM, 0)]
    assert follower.terms == HELD
    assert follower.node.raft.commit_index == 1


def test_what_one_leader_verified_says_nothing_of_the_next_ones_log(follower: Follower) -> None:
    assert follower.node.consensus.following.verified == 4
    (answer,) = follower.hear(beat(4))
    assert isinstance(answer, HeartbeatReply)
    assert (answer.verified, answer.match) == (0, 0)
    assert follower.node.raft.commit_index == 1
