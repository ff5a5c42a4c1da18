"""A3: what a leader sends to one peer next, whatever the peer answers and in whatever order."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.replication.progress import IN_FLIGHT_SIZE_MAX, Progress, Stage


def progress(next_index: int = 10) -> Progress:
    """Of a peer that can be reached."""
    return Progress(next_index, 0.0, connected=True)


def replicating(match: int, next_index: int) -> Progress:
    """Agrees up to `match`; what follows up to `next_index` is on its way."""
    made = progress(match + 1)
    made.sent(match, 0)
    made.acknowledged(match)
    if next_index > match + 1:
        made.sent(next_index - 1, 100)
    assert (made.stage, made.match, made.next_index) == (Stage.REPLICATE, match, next_index)
    return made


def test_one_probe_at_a_time_until_the_logs_agree() -> None:
    peer = progress(10)
    assert peer.may_send(9), "an empty one, too"
    peer.sent(12, 100)
    assert not peer.may_send(20)
    peer.acknowledged(5)
    assert not peer.may_send(20), "on disk up to 5, which says nothing of 9"
    peer.acknowledged(9)
    assert peer.stage is Stage.REPLICATE
    assert peer.may_send(20)
    assert peer.next_index == 13, "10 to 12 are on their way"


def test_what_is_sent_again_is_counted_again() -> None:
    peer = replicating(20, 30)
    assert peer.sent_count == 9, "21 to 29"
    peer.sent(29, 0)
    assert peer.sent_count == 9
    peer.lost()
    peer.sent(30, 100)
    assert peer.sent_count == 19, "21 to 30"


@pytest.mark.parametrize(
    ("prev", "hint", "following"),
    [
        pytest.param(29, 24, 25, id="a gap: on from the end of the peer's log"),
        pytest.param(29, 40, 29, id="a longer log: one back"),
        pytest.param(29, 3, 21, id="never back to what is acknowledged"),
        pytest.param(20, 3, None, id="what is acknowledged was rejected long ago"),
        pytest.param(7, 3, None, id="the same"),
    ],
)
def test_a_rejected_append(prev: int, hint: int, following: int | None) -> None:
    peer = replicating(20, 30)
    peer.rejected(prev, hint)
    if following is None:
        assert (peer.stage, peer.next_index) == (Stage.REPLICATE, 30)
    else:
        assert (peer.stage, peer.next_index, peer.match) == (Stage.PROBE, following, 20)
        assert not peer.in_flight_size


def test_a_rejection_that_comes_late_is_ignored() -> None:
    peer = replicating(20, 30)
    peer.rejected(29, 24)
    peer.rejected(35, 24)  # a later append of the same row
    assert (peer.next_index, peer.probe_prev) == (25, None)
    peer.sent(28, 100)
    peer.rejected(29, 22)
    assert (peer.next_index, peer.probe_prev) == (29, 24)


def test_next_never_goes_back_on_success() -> None:
    peer = replicating(10, 16)
    for match in (11, 12, 10, 3, 13):
        peer.acknowledged(match)
        assert peer.next_index == 16
    assert peer.match == 13
    peer.acknowledged(20)
    assert (peer.match, peer.next_index) == (20, 21)


def test_what_is_in_flight_is_bounded_but_for_one_append() -> None:
    peer = replicating(10, 11)
    peer.sent(11, IN_FLIGHT_SIZE_MAX - 1)
    assert peer.may_send(20)
    peer.sent(12, IN_FLIGHT_SIZE_MAX)
    assert not peer.may_send(20)
    peer.acknowledged(11)
    assert not peer.may_send(20)
    peer.acknowledged(12)
    assert peer.may_send(20)
    assert peer.in_flight_size == 0


def test_a_lost_link_sends_again_what_is_not_acknowledged() -> None:
    peer = replicating(10, 16)
    peer.lost()
    assert (peer.stage, peer.next_index, peer.match) == (Stage.PROBE, 11, 10)
    fresh = progress(10)
    fresh.sent(12, 1)
    fresh.lost()
    assert fresh.next_index == 10
    assert fresh.probe_prev is None


@pytest.mark.parametrize(
    ("sent", "verified", "last", "following"),
    [
        pytest.param(15, 15, 15, None, id="nothing is missing"),
        pytest.param(15, 12, 12, 13, id="appends were lost"),
        pytest.param(15, 12, 40, 13, id="appends were lost, and it has another tail"),
        pytest.param(15, 0, 12, 13, id="it says nothing of this term"),
        pytest.param(15, 0, 40, 16, id="the same, with a longer log"),
        pytest.param(20, 12, 12, None, id="asked before the last probe began"),
        pytest.param(9, 0, 30, None, id="acknowledged already"),
    ],
)
def test_what_a_heartbeat_shows_to_be_missing(
    sent: int, verified: int, last: int, following: int | None
) -> None:
    peer = replicating(10, 16)
    peer.missed(sent, verified, last, answers=0)
    if following is None:
        assert (peer.stage, peer.next_index) == (Stage.REPLICATE, 16)
    else:
        assert (peer.stage, peer.next_index) == (Stage.PROBE, following)


def test_a_lost_probe_is_seen_by_the_next_heartbeat() -> None:
    peer = progress(10)
    assert peer.sent_index == 0, "nothing was sent: nothing can be missed"
    peer.missed(0, 0, 30, answers=0)
    assert peer.probe_prev is None
    peer.sent(12, 1)
    assert peer.sent_index == 12
    peer.missed(12, 0, 30, answers=0)
    assert (peer.next_index, peer.probe_prev) == (10, None)


def test_one_loss_is_sent_again_once_however_many_heartbeats_show_it() -> None:
    peer = replicating(10, 16)
    for number in (1, 2, 3):
        peer.asked(number)
    peer.missed(15, 12, 12, answers=1)
    peer.sent(15, 100)
    peer.missed(15, 12, 12, answers=2)
    peer.missed(15, 12, 12, answers=3)
    assert (peer.probe_prev, peer.next_index) == (12, 16)
    peer.asked(4)
    peer.missed(15, 12, 12, answers=4)
    assert (peer.probe_prev, peer.next_index) == (None, 13)


def test_a_peer_that_is_given_a_state_gets_nothing_of_the_log() -> None:
    peer = replicating(10, 16)
    peer.stage = Stage.SNAPSHOT
    for change in (
        lambda: peer.rejected(15, 3),
        lambda: peer.missed(15, 3, 3, answers=9),
        peer.lost,
    ):
        change()
        assert peer.stage is Stage.SNAPSHOT
        assert not peer.may_send(100)
    peer.probe(41)
    assert peer.may_send(100)
    assert peer.next_index == 41


def test_what_a_peer_without_log_acknowledged_is_forgotten() -> None:
    peer = replicating(10, 16)
    peer.forget(20)
    assert (peer.match, peer.next_index, peer.stage) == (0, 20, Stage.PROBE)
    peer.sent(20, 1)
    peer.rejected(19, 1)
    assert peer.next_index == 2


class Wire:
    """A leader's progress and the log of its follower, joined in order in both directions. The
    follower's entries are those of the leader up to `agrees`, and another tail up to `last`."""

    def __init__(self, agrees: int, last: int, leader_last: int) -> None:
        self.peer = progress(leader_last)
        self.agrees, self.last, self.leader_last = agrees, last, leader_last
        self.verified = 0
        self.out: deque[tuple[int, int]] = deque()  # (prev, last) of an append
        self.back: deque[tuple[str, int, int]] = deque()
        self.sent: list[int] = []

    def send(self, count: int) -> None:
        if self.peer.may_send(self.leader_last):
            prev = self.peer.next_index - 1
            end = min(prev + count, self.leader_last)
            self.sent += range(prev + 1, end + 1)
            self.peer.sent(end, end - prev)
            self.out.append((prev, end))

    def receive(self) -> None:
        if not self.out:
            return
        prev, end = self.out.popleft()
        if prev > self.last:
            self.back.append(("reject", prev, self.last))
        elif prev > self.agrees:
            self.back.append(("reject", prev, 1))
        else:
            if end > self.agrees:
                self.agrees = self.last = end
            self.verified = max(self.verified, end)
            self.back.append(("ack", self.verified, 0))

    def answer(self) -> None:
        if not self.back:
            return
        kind, index, hint = self.back.popleft()
        before = self.peer.next_index
        if kind == "ack":
            self.peer.acknowledged(index)
            assert self.peer.next_index >= before, "back on success"
        else:
            self.peer.rejected(index, hint)
        assert self.peer.match <= self.verified, "counted what the follower does not hold"

    def flap(self) -> None:
        self.out.clear()
        self.peer.lost()


STEPS = st.one_of(
    st.tuples(st.just("send"), st.integers(1, 4)),
    st.sampled_from([("receive", 0), ("answer", 0), ("append", 0), ("flap", 0)]),
)


@settings(max_examples=200)
@given(st.integers(1, 8), st.integers(0, 5), st.integers(2, 12), st.lists(STEPS, max_size=60))
def test_the_follower_catches_up_whatever_happens(
    agrees: int, tail: int, leader_last: int, steps: list[tuple[str, int]]
) -> None:
    agrees = min(agrees, leader_last)
    wire = Wire(agrees, agrees + tail, leader_last)
    flapped = False
    for step, count in steps:
        if step == "send":
            wire.send(count)
        elif step == "append":
            wire.leader_last += 1
        else:
            flapped = flapped or step == "flap"
            getattr(wire, step)()
    for _ in range(100):
        wire.send(2)
        wire.receive()
        wire.answer()
    assert wire.peer.match == wire.leader_last
    assert wire.peer.stage is Stage.REPLICATE
    if not flapped and not tail and agrees == leader_last:
        assert len(wire.sent) == len(set(wire.sent)), "an entry was sent twice in a healthy run"
