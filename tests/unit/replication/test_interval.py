"""Durability `interval`: answers do not wait for the disk; term, vote and the state's order do."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cluster.replication import applier as applier_module
from tests.unit.replication.rig import Rig

INTERVAL = 0.1
MakeRig = Callable[..., Rig]


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    """A leader that syncs every 100 ms."""
    made = make_rig(sync_interval_secs=INTERVAL)
    made.lead()
    made.tick(INTERVAL)
    return made


def test_term_vote_and_no_op_are_synced_all_the_same(make_rig: MakeRig) -> None:
    rig = make_rig(sync_interval_secs=INTERVAL)
    rig.start()
    rig.tick(1)
    assert not rig.raft.is_leader
    assert rig.log.finish()
    assert rig.raft.is_leader
    assert (rig.disk.head.term, rig.disk.head.vote) == (1, "n1")


def test_an_answer_does_not_wait(rig: Rig) -> None:
    rig.submit(1)
    rig.submit(2)
    assert rig.accepted() == {1, 2}
    assert not set(rig.stored()) & {1, 2}


def test_what_was_answered_is_synced_after_the_interval_at_the_latest(rig: Rig) -> None:
    rig.submit(1)
    rig.log.finish()
    rig.submit(2)
    rig.tick(INTERVAL * 0.9)
    assert not rig.log.waiting, "one sync per interval"
    rig.tick(INTERVAL * 0.11)
    assert rig.log.finish()
    assert rig.stored()[-1] == 2


def test_the_state_is_written_under_steady_load_and_never_ahead_of_the_log(rig: Rig) -> None:
    """The applied index is ahead of the synced one at every single moment of this."""
    tag = 0
    for _ in range(60):
        tag += 1
        rig.submit(tag)
        rig.tick(INTERVAL)
        tag += 1
        rig.submit(tag)  # while the flush is under way
        rig.log.finish()
        rig.state.finish()
        assert rig.raft.applied_index > rig.journal.synced_index
        rig.check()
    assert rig.disk.state_index > 50


def test_the_overlay_is_bounded_under_steady_load(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(applier_module, "OVERLAY_SIZE_MAX", 50_000)
    largest = 0
    for tag in range(1, 400):
        rig.submit(tag, size=1000)
        rig.tick(INTERVAL / 4)
        rig.log.finish()
        rig.state.finish()
        largest = max(largest, rig.applier._overlay.size)
    assert largest < 200_000


def test_a_clean_stop_loses_nothing_and_keeps_the_log_ahead(make_rig: MakeRig, rig: Rig) -> None:
    for tag in range(1, 6):
        rig.submit(tag)
    assert rig.accepted() == {1, 2, 3, 4, 5}
    rig.stop()
    assert rig.stored()[-5:] == [1, 2, 3, 4, 5]
    assert rig.disk.state_index == rig.disk.head.last
    again = make_rig(rig.disk, sync_interval_secs=INTERVAL)
    again.lead()
    again.submit(6)
    assert again.accepted() == {6}
    again.check()


def test_a_crash_loses_the_unsynced_end_and_nothing_else(make_rig: MakeRig, rig: Rig) -> None:
    for tag in range(1, 4):
        rig.submit(tag)
    rig.log.finish()  # the first batch was taken before tags 2 and 3
    rig.crash()
    rig.lead()
    assert [tag for tag in rig.stored() if tag] == [1]
    rig.submit(4)
    rig.check()
