"""A12: what a start makes of a log and a state, and that nothing goes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from cluster.replication.continuation import LogConflict
from cluster.storage.log_records import Head, LogBatch, encode_entry, entry_key
from taskq.commands import SubmitTask
from taskq.machine.entry import encode_entry as encode_ours
from tests.unit.replication.disk import Disk, MemoryLog
from tests.unit.replication.rig import Rig

MakeRig = Callable[..., Rig]


def led(make_rig: MakeRig, tags: range) -> Rig:
    """A leader that has these tasks, each in an entry of its own, flushed; no state written."""
    rig = make_rig()
    rig.lead()
    for tag in tags:
        rig.submit(tag)
        rig.log.finish()
    return rig


def test_a_restart_before_the_first_flush_is_a_first_start(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.start()
    rig.crash()
    assert (rig.disk.head.last, rig.disk.head.term) == (0, 0)
    rig.lead()
    assert (rig.disk.head.last, rig.disk.head.term) == (2, 1)
    rig.check()


def test_the_state_at_every_index_replays_what_the_log_has_above(make_rig: MakeRig) -> None:
    first = led(make_rig, range(1, 8))
    for index in range(2, first.disk.head.last + 1):
        disk = Disk()
        disk.records, disk.head = dict(first.disk.records), first.disk.head
        disk.history = dict(first.disk.history)
        disk.state = first.replayed(index)
        disk.state_index = index
        disk.state_terms = (disk.history[index - 1][0], disk.history[index][0])
        rig = make_rig(disk)
        rig.lead()
        rig.submit(99)
        rig.settled()
        assert 99 in rig.accepted()
        assert rig.raft.applied_index == disk.head.last
        rig.check()


@pytest.mark.parametrize("index", [0, 1])
def test_a_state_before_the_first_entry_of_ours(make_rig: MakeRig, index: int) -> None:
    rig = led(make_rig, range(1, 4))
    rig.crash()
    rig.disk.state_index = index
    again = make_rig(rig.disk)
    again.lead()
    again.submit(99)
    again.settled()
    assert 99 in again.accepted()
    again.tick(2)
    again.settled()
    assert again.disk.state_index == again.disk.head.last
    again.check()


def test_every_start_raises_the_term(make_rig: MakeRig) -> None:
    rig = make_rig()
    for term in range(1, 6):
        rig.lead()
        assert (rig.disk.head.term, rig.raft.term) == (term, term)
        rig.crash()


def test_a_term_that_only_the_last_entry_knows_counts(make_rig: MakeRig) -> None:
    disk = Disk()
    MemoryLog(disk).write(LogBatch(entries=[(1, 0, b"\1"), (2, 7, b"\1")], term=7))
    disk.head = Head(1, first=1, last=2, lowest=1, term=3)
    rig = make_rig(disk)
    assert rig.raft.term == 7
    rig.lead()
    assert rig.disk.head.term == 8


def test_a_commit_index_beyond_the_log_is_clamped(make_rig: MakeRig) -> None:
    rig = led(make_rig, range(1, 4))
    rig.crash()
    rig.disk.head = Head(1, first=1, last=3, lowest=1, term=1, commit_index=5, vote="n1")
    for index in range(4, 6):
        rig.disk.records.pop(entry_key(index), None)
    again = make_rig(rig.disk)
    assert again.raft.commit_index == 3
    again.lead()
    again.submit(99)
    again.settled()
    assert 99 in again.accepted()


def behind(make_rig: MakeRig, keep: int) -> Rig:
    """A node whose state is at the end, and whose log ends `keep` entries after its first."""
    rig = led(make_rig, range(1, 8))
    rig.tick(2)
    rig.settled()
    assert rig.disk.state_index == rig.disk.head.last
    rig.crash()
    head = rig.disk.head
    for index in range(1 + keep, head.last + 1):
        rig.disk.records.pop(entry_key(index))
    rig.disk.head = Head(1, first=min(keep, 1), last=keep, lowest=min(keep, 1), term=1, vote="n1")
    return rig


@pytest.mark.parametrize("keep", [0, 1, 2, 5])
def test_a_log_behind_its_state_is_rebased_in_one_batch(make_rig: MakeRig, keep: int) -> None:
    rig = behind(make_rig, keep)
    index, batches = rig.disk.state_index, rig.disk.batches
    again = make_rig(rig.disk)
    again.start()
    assert (again.raft.commit_index, again.raft.applied_index) == (index, index)
    assert not again.raft.is_leader
    assert rig.disk.batches == batches
    assert again.log.finish()
    assert rig.disk.batches == batches + 1, "rebase, term, vote and no-op go together"
    head = rig.disk.head
    assert (head.first, head.last) == (index - 1, index + 1), "two entries, then the no-op"
    assert (head.term, head.vote) == (2, "n1")
    assert again.raft.is_leader
    again.submit(99)
    again.settled()
    assert 99 in again.accepted()
    assert again.raft.applied_index == index + 2


def test_a_crash_before_the_rebase_leaves_everything_as_it_was(make_rig: MakeRig) -> None:
    rig = behind(make_rig, 2)
    head, index = rig.disk.head, rig.disk.state_index
    for _ in range(2):
        again = make_rig(rig.disk)
        again.start()
        again.crash()
    assert rig.disk.head == head
    again.lead()
    assert rig.disk.head.first == index - 1


def test_a_rebase_takes_over_the_higher_term_of_the_state(make_rig: MakeRig) -> None:
    rig = behind(make_rig, 0)
    rig.disk.head = Head(1)  # a repaired log may have lost term and vote
    rig.disk.state_terms = (4, 6)
    again = make_rig(rig.disk)
    assert again.raft.term == 6
    again.lead()
    assert (rig.disk.head.term, rig.disk.head.vote) == (7, "n1")
    assert [term for _, term, _ in rig.disk.entries()] == [4, 6, 7]


def test_a_log_that_starts_right_after_the_state_is_kept(make_rig: MakeRig) -> None:
    """A repair may leave it so; every entry in it was acknowledged."""
    rig = led(make_rig, range(1, 8))
    rig.crash()
    index = 4
    disk = rig.disk
    disk.state, disk.state_index, disk.state_terms = rig.replayed(index), index, (1, 1)
    for number in range(1, index + 1):
        disk.records.pop(entry_key(number))
    disk.head = Head(1, first=index + 1, last=disk.head.last, lowest=index + 1, term=1, vote="n1")
    again = make_rig(disk)
    again.lead()
    again.submit(99)
    again.settled()
    assert 99 in again.accepted()
    assert again.raft.applied_index == disk.head.last
    again.check()


def test_a_log_of_another_history_is_refused_and_left_alone(make_rig: MakeRig) -> None:
    rig = led(make_rig, range(1, 8))
    rig.crash()
    disk = rig.disk
    disk.state, disk.state_index, disk.state_terms = rig.replayed(4), 4, (1, 3)
    before = (dict(disk.records), disk.head)
    with pytest.raises(LogConflict, match="entry 4 has term 1 in the log and 3 in the state"):
        make_rig(disk)
    assert (disk.records, disk.head) == before


def test_a_member_drops_a_log_that_its_state_contradicts(make_rig: MakeRig) -> None:
    """The state came in a snapshot; what the log holds was never verified. Term and vote stay."""
    rig = led(make_rig, range(1, 8))
    rig.crash()
    disk, last = rig.disk, rig.disk.head.last
    disk.head = replace(disk.head, term=5, vote="n3")
    disk.state, disk.state_index, disk.state_terms = rig.replayed(4), 4, (1, 3)
    records, batches = dict(disk.records), disk.batches
    again = make_rig(disk, others=("n2", "n3"))
    again.start()
    assert (again.raft.applied_index, again.raft.commit_index) == (4, 4)
    assert (again.raft.last_index, again.raft.last_term) == (4, 3), "nothing is left above it"
    assert disk.records == records, "not yet on disk"
    assert again.raft.journal.flushed_index == 0, "and acknowledged as little"
    assert again.log.finish()
    assert disk.batches == batches + 1
    assert [(index, term) for index, term, _ in disk.entries()] == [(3, 1), (4, 3)]
    assert last > 4
    assert (disk.head.term, disk.head.vote) == (5, "n3")
    again.crash()
    assert [(index, term) for index, term, _ in disk.entries()] == [(3, 1), (4, 3)]
    assert (again.raft.term, again.raft.vote) == (5, "n3")


def test_a_checkpoint_keeps_two_entries_at_or_below_the_state(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.replication.journal.MARK_SIZE", 1)
    rig = make_rig(checkpoint_size=2_000)
    rig.lead()
    dropped = 0
    for tag in range(1, 200):
        rig.submit(tag, size=50)
        rig.tick(0.4)
        rig.settled()
        head = rig.disk.head
        if head.first > 1:
            dropped = head.first
            assert head.first <= rig.disk.state_index - 1
        if tag % 25 == 0:
            rig.crash()
            rig.lead()
        rig.check()
    assert dropped > 100
    # Nothing but the tail is kept: 2,000 bytes, and what came since the last checkpoint.
    assert len(rig.disk.entries()) < 100


def test_cluster_time_goes_on_from_the_last_entry(make_rig: MakeRig) -> None:
    rig = led(make_rig, range(1, 2))
    for _ in range(40):
        rig.tick(0.25)
    rig.submit(2)
    rig.settled()
    elapsed, wall = rig.applier.machine.elapsed_ms, rig.applier.machine.wall_ms
    assert elapsed >= 10_000
    rig.crash()
    rig.loop.now = 5.0  # another boot: its monotonic clock starts again
    rig.wall_secs -= 3600
    rig.lead()
    assert rig.applier.machine.elapsed_ms == elapsed
    rig.tick(0.25)
    rig.submit(3)
    rig.settled()
    assert rig.applier.machine.elapsed_ms == elapsed + 250
    assert rig.applier.machine.wall_ms == wall, "the wall time waits for the clock"


def test_an_entry_as_it_is_on_disk_decodes_to_what_was_proposed(make_rig: MakeRig) -> None:
    """The type byte in front is PySyncObj's: a format on disk."""
    rig = led(make_rig, range(1, 2))
    command = SubmitTask((1).to_bytes(16, "big"), "q", "", b"")
    stamp = int(rig.wall_secs * 1000)
    record = encode_entry(1, b"\0" + encode_ours(0, stamp, [command]))
    assert rig.disk.records[entry_key(3)] == record
