"""L2: after a failed write nothing more is written, waiters hear the truth, a new node goes on.

And crashes at every point of a round, drawn by hypothesis: every delivered answer is there after
the restart, nothing is delivered twice, nothing is invented.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cluster.replication import journal as journal_module
from cluster.storage.errors import StorageFailed
from taskq.commands import ClaimTask, SubmitTask, TaskResult
from taskq.errors import ErrorCode, Refusal
from taskq.machine.machine import Machine
from tests.unit.replication.rig import Rig

MakeRig = Callable[..., Rig]


def reopen(rig: Rig) -> None:
    """What `Replica` does after a failed write: stop the driver, build anew from the disk."""
    task = rig.loop.create_task(rig.driver.stop())
    for _ in range(10):
        rig.log.finish()
        rig.state.finish()
        rig.tick(0.01)
    assert task.done()
    task.result()
    rig.open()


@pytest.mark.parametrize("written", [False, True])
def test_a_failed_log_write_tells_what_is_known(rig: Rig, *, written: bool) -> None:
    rig.submit(1)
    rig.log.finish()
    rig.submit(2)  # being flushed
    rig.submit(3)  # waits for the next entry
    last = rig.disk.head.last
    assert rig.log.fail(written=written)
    assert [type(error) for error in rig.failures] == [StorageFailed]
    unknown, refused = rig.answers[2], rig.answers[3]
    assert isinstance(unknown, Refusal)
    assert unknown.unknown
    assert isinstance(refused, Refusal)
    assert (refused.unknown, refused.code) == (False, ErrorCode.UNAVAILABLE.value)
    assert rig.leaderships == [True, False]
    rig.submit(4)
    assert isinstance(rig.answers[4], Refusal)
    rig.tick(5)
    assert not rig.log.waiting, "written after a failed write"
    assert not rig.state.waiting, "written after a failed write"
    reopen(rig)
    assert rig.disk.head.last == last + written
    rig.lead()
    assert set(rig.stored()) >= {1}
    assert 3 not in rig.stored()
    rig.submit(5)
    rig.settled()
    assert rig.accepted() == {1, 5}
    rig.check()


def test_a_failed_state_write_is_survived_by_opening_again(rig: Rig) -> None:
    rig.submit(1)
    rig.log.finish()
    rig.tick(2)
    rig.submit(2)
    assert rig.state.fail(written=False)
    assert isinstance(rig.answers[2], Refusal)
    assert rig.answers[2].unknown
    assert len(rig.failures) == 1
    assert rig.disk.state_index == 0
    reopen(rig)
    rig.lead()
    assert rig.applier.machine.is_final((1).to_bytes(16, "big")) is False
    rig.tick(2)
    rig.settled()
    assert rig.disk.state_index == rig.disk.head.last
    rig.check()


def test_both_writes_failing_is_one_failure(rig: Rig) -> None:
    rig.submit(1)
    rig.log.finish()
    rig.tick(2)
    rig.submit(2)
    assert rig.state.fail(written=False)
    assert rig.log.fail(written=False)
    assert len(rig.failures) == 1


def test_a_write_of_the_state_that_fails_while_stopping_ends_the_stop(rig: Rig) -> None:
    rig.submit(1)
    rig.log.finish()
    rig.tick(2)
    task = rig.loop.create_task(rig.driver.stop())
    rig.tick(0.001)
    assert rig.state.fail(written=False)
    rig.tick(0.001)
    assert task.done()
    assert task.exception() is None
    assert rig.disk.state_index == 0
    assert not rig.state.waiting


def test_the_last_write_of_the_state_may_fail(rig: Rig) -> None:
    rig.submit(1)
    rig.log.finish()
    task = rig.loop.create_task(rig.driver.stop())
    rig.tick(0.001)
    assert rig.state.fail(written=False)
    rig.tick(0.001)
    assert task.done()
    assert task.exception() is None


def test_a_bug_in_apply_stops_the_node_and_again_at_the_next_start(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Machine, entry: bytes) -> Any:
        calls.append(entry)
        raise ZeroDivisionError

    calls: list[bytes] = []
    rig.submit(1)
    with monkeypatch.context() as patch:
        patch.setattr(Machine, "apply", broken)
        rig.log.finish()
        rig.tick(5)
        assert len(calls) == 1, "tried again in the same process"
        assert isinstance(rig.failures[0], ZeroDivisionError)
        assert isinstance(rig.answers[1], Refusal)
        assert rig.answers[1].unknown
        rig.crash()
        rig.start()
        rig.log.finish()
        assert len(calls) == 2
        assert len(rig.failures) == 2
        assert not rig.raft.is_leader
    rig.crash()
    rig.lead()
    assert rig.applier.machine.is_final((1).to_bytes(16, "big")) is False


def test_a_read_that_fails_while_answering_leaves_nobody_waiting(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply, calls = Machine.reply, 0

    def failing(self: Machine, result: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise StorageFailed("cannot read")
        return reply(self, result)

    monkeypatch.setattr(Machine, "reply", failing)
    for tag in (1, 2, 3):
        rig.submit(tag, settle=False)
    rig.loop.settle()
    rig.log.finish()
    assert set(rig.answers) == {1, 2, 3}
    assert rig.accepted() == {1}
    assert rig.answers[2].unknown
    assert rig.answers[3].unknown


def test_a_sink_with_a_bug_does_not_hide_the_failure(rig: Rig) -> None:
    class Broken:
        def deliver(self, tag: Any, value: Any) -> None:
            raise KeyError(tag)

    rig.driver.propose(SubmitTask((1).to_bytes(16, "big"), "q"), Broken(), 1)
    rig.loop.settle()
    with pytest.raises(KeyError):
        rig.driver.fail(StorageFailed("no"))
    assert [type(error) for error in rig.failures] == [StorageFailed]
    assert rig.driver.stopped


WORKER = b"w" * 16


class AnyOrder(RuleBasedStateMachine):
    """Proposals, flushes, failures, time and crashes in any order."""

    @initialize(interval=st.sampled_from([0.0, 0.1]))
    def begin(self, interval: float) -> None:
        self.patches = [
            mock.patch.object(journal_module, "MARK_SIZE", 200),
            mock.patch.object(journal_module, "MEMORY_SIZE_MAX", 500),
        ]
        for patch in self.patches:
            patch.start()
        self.interval = interval
        self.rig = Rig(sync_interval_secs=interval, checkpoint_size=1_500)
        self.rig.start()
        self.tag = 0
        self.claims = 0
        self.completed: set[Any] = set()

    @rule(count=st.integers(1, 4), size=st.integers(0, 300))
    def submit(self, count: int, size: int) -> None:
        for _ in range(count):
            self.tag += 1
            self.rig.submit(self.tag, size=size, settle=False)
        self.rig.loop.settle()

    @rule()
    def claim(self) -> None:
        self.claims += 1
        self.rig.propose(ClaimTask(WORKER, self.claims, 1, ["q"], 2), ("claim", self.claims))

    @rule()
    def complete(self) -> None:
        for tag, answer in self.rig.answers.items():
            if type(tag) is tuple and tag[0] == "claim" and not isinstance(answer, Refusal):
                for task in answer.tasks:
                    key = ("result", task.task_id, task.token)
                    if key not in self.completed:
                        self.completed.add(key)
                        self.rig.propose(TaskResult(task.task_id, task.token, True), key)
                        return

    @rule()
    def flush(self) -> None:
        self.rig.log.finish()

    @rule()
    def write_state(self) -> None:
        self.rig.state.finish()

    @rule(secs=st.sampled_from([0.05, 0.25, 1.1]))
    def tick(self, secs: float) -> None:
        self.rig.tick(secs)

    @rule()
    def crash(self) -> None:
        self.rig.crash()
        self.rig.start()

    @precondition(lambda self: bool(self.rig.log.waiting))
    @rule(written=st.booleans())
    def fail_flush(self, *, written: bool) -> None:
        self.rig.log.fail(written=written)
        reopen(self.rig)
        self.rig.start()

    @precondition(lambda self: bool(self.rig.state.waiting))
    @rule(written=st.booleans())
    def fail_state_write(self, *, written: bool) -> None:
        self.rig.state.fail(written=written)
        reopen(self.rig)
        self.rig.start()

    @rule()
    def stop_and_start(self) -> None:
        led = self.rig.raft.is_leader
        self.rig.stop()
        assert not led or self.rig.disk.state_index == self.rig.disk.head.last
        self.rig.open()
        self.rig.start()

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "rig"):
            self.rig.check()

    def teardown(self) -> None:
        if not hasattr(self, "rig"):
            return
        rig = self.rig
        rig.settled()
        rig.tick(0.2)
        rig.settled()
        rig.submit(10**9)
        rig.tick(0.2)
        rig.settled()
        assert 10**9 in rig.accepted(), "the node does not go on"
        tags = [tag for tag in rig.stored() if tag is not None]
        assert len(tags) == len(set(tags)), "an entry was written twice"
        rig.check()
        rig.close()
        for patch in self.patches:
            patch.stop()


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=30, stateful_step_count=30)
