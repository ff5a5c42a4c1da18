"""A2: nothing is delivered, applied, committed or written to the state before its flush."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cluster.replication.packing import ENTRY_WEIGHT
from taskq.commands import SubmitTask, SubmitTasks
from taskq.errors import Refusal
from taskq.limits import ENTRY_SIZE_MAX, FRAME_SIZE_MAX, MIB
from taskq.machine.entry import decode_entry, encode_entry
from tests.unit.replication.rig import Rig

MakeRig = Callable[..., Rig]


def commands_of(rig: Rig, first: int) -> list[int]:
    """How many commands each entry from `first` on holds."""
    entries = [command for index, _, command in rig.disk.entries() if index >= first]
    return [len(decode_entry(command[1:])[2]) for command in entries if command[:1] == b"\0"]


def test_the_first_start_leads_only_after_term_vote_and_no_op_are_on_disk(
    make_rig: MakeRig,
) -> None:
    rig = make_rig()
    rig.start()
    rig.submit(1)
    assert 1 not in rig.answers, "it waits until this node is ready to lead"
    assert (rig.raft.is_leader, rig.raft.commit_index, rig.disk.batches) == (False, 1, 0)
    assert rig.log.finish()
    assert rig.disk.batches == 1, "term, vote and no-op are one batch"
    assert (rig.disk.head.term, rig.disk.head.vote, rig.disk.head.last) == (1, "n1", 2)
    assert rig.raft.is_leader
    assert (rig.leaderships, rig.leaders) == ([True], ["n1"])
    rig.settled()
    assert rig.answers[1].task_id == (1).to_bytes(16, "big")
    rig.check()


def test_an_answer_waits_for_the_flush(rig: Rig) -> None:
    applied = rig.raft.applied_index
    rig.submit(1)
    rig.tick(0.3)
    assert 1 not in rig.answers
    assert rig.raft.applied_index == rig.raft.commit_index == applied
    rig.check()
    assert rig.log.finish()
    assert rig.answers[1].task_id == (1).to_bytes(16, "big")
    rig.check()


def test_what_arrives_during_a_flush_is_one_entry_of_the_next(rig: Rig) -> None:
    first = rig.journal.last_index + 1
    for tag in range(1, 4):
        rig.submit(tag, settle=False)
    rig.loop.settle()
    for tag in range(4, 104):
        rig.submit(tag)
    assert rig.log.finish()
    assert rig.order == [1, 2, 3]
    assert rig.log.finish()
    assert not rig.log.finish()
    assert commands_of(rig, first) == [3, 100]
    assert rig.order == list(range(1, 104)), "answers come in the order of the log"
    rig.check()


def test_the_state_is_written_only_up_to_what_the_log_holds(rig: Rig) -> None:
    rig.submit(1)
    rig.log.finish()
    rig.submit(2)
    rig.tick(2)
    assert rig.state.finish()
    assert rig.disk.state_index == rig.disk.head.last == rig.journal.synced_index
    assert rig.journal.last_index == rig.disk.head.last + 1, "the second submit is not flushed"
    rig.check()


def test_one_entry_weighs_so_much_that_it_is_applied_in_milliseconds(rig: Rig) -> None:
    first = rig.journal.last_index + 1
    half = ENTRY_WEIGHT // 2
    big = SubmitTasks([SubmitTask((10**6 + n).to_bytes(16, "big"), "q") for n in range(half + 1)])
    rig.propose(big, "a", settle=False)
    rig.propose(big, "b", settle=False)
    for tag in range(1, half + 1):
        rig.submit(tag, settle=False)
    rig.settled()
    # half + 1 | half + 1, half - 1 singles | 1
    assert commands_of(rig, first) == [1, half, 1]
    assert len(rig.accepted()) == half + 2


def test_entries_stay_below_four_mib_and_one_large_command_goes_alone(rig: Rig) -> None:
    first = rig.journal.last_index + 1
    for tag in range(1, 11):
        rig.submit(tag, size=MIB, settle=False)
    rig.settled()
    sizes = [len(command) for index, _, command in rig.disk.entries() if index >= first]
    assert max(sizes) <= ENTRY_SIZE_MAX + 1
    assert sum(commands_of(rig, first)) == 10
    assert sorted(rig.accepted()) == list(range(1, 11))
    first = rig.journal.last_index + 1
    for tag in (21, 22, 23):
        rig.submit(tag, size=FRAME_SIZE_MAX - 1000 if tag == 22 else 1, settle=False)
    rig.settled()
    assert sum(commands_of(rig, first)) == 3
    assert {21, 22, 23} <= set(rig.answers)
    rig.crash()
    rig.lead()
    rig.check()


def test_the_own_node_counts_only_its_flushed_index(rig: Rig) -> None:
    before = rig.raft.commit_index
    rig.submit(1)
    for _ in range(5):
        rig.raft.doTick(0)
    assert rig.raft.commit_index == before
    assert rig.raft.applied_index == before


def test_what_others_committed_is_applied_only_when_it_is_on_the_own_disk(rig: Rig) -> None:
    """As a follower hears it from the leader: the commit index is ahead of the own flush."""
    applied = rig.raft.applied_index
    rig.submit(1)
    clock, heard = rig.driver.clock, []
    second = encode_entry(clock.elapsed_ms, clock.wall_ms, [SubmitTask((2).to_bytes(16), "q")])
    rig.raft.propose(second, lambda result, done: heard.append(done))
    rig.raft._SyncObj__raftCommitIndex = rig.journal.last_index
    rig.raft.doTick(0)
    assert not rig.raft.behind
    assert rig.raft.applied_index == applied
    rig.log.finish()  # the first; the second is on its way now
    assert rig.raft.applied_index == applied + 1
    assert not heard
    rig.log.finish()
    assert rig.raft.applied_index == applied + 2
    assert heard == [True]


def test_entries_of_an_older_term_are_committed_by_one_of_this_term(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.lead()
    rig.submit(1)
    rig.log.finish()
    commit = rig.raft.commit_index
    rig.crash()
    stored = rig.disk.head.commit_index
    assert stored < commit, "the commit index is written along, so the disk has an older one"
    rig.start()
    assert rig.raft.commit_index == stored
    assert rig.log.finish()
    assert rig.raft.applied_index == rig.disk.head.last
    rig.check()


def test_a_stop_takes_nothing_new_flushes_and_writes_the_state(rig: Rig) -> None:
    rig.submit(1)
    rig.stop()
    assert 1 in rig.accepted()
    rig.submit(2)
    assert isinstance(rig.answers[2], Refusal)
    assert rig.disk.state_index == rig.disk.head.last
    rig.check()


@pytest.mark.parametrize("interval", [0.0, 0.1])
def test_a_stop_ends_though_proposals_keep_coming(make_rig: MakeRig, interval: float) -> None:
    rig = make_rig(sync_interval_secs=interval)
    rig.lead()
    rig.submit(1)
    task = rig.loop.create_task(rig.driver.stop())
    for tag in range(2, 100):
        rig.submit(tag)
        rig.tick(0.001)
        rig.log.finish()
        rig.state.finish()
    assert task.done()
    assert task.exception() is None
    assert rig.disk.state_index == rig.disk.head.last
    rig.check()
