"""The runner: an epoch per term, one timer, nothing twice in flight, warnings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import structlog

from cluster.monitors.duties import standard_duties
from cluster.monitors.runner import Duty, Runner
from cluster.storage.errors import DataDamaged
from taskq import commands
from taskq.errors import ErrorCode, refuse
from tests.unit.server.memory_replica import MemoryReplica
from tests.unit.server.rig import claim, submit, task_id
from tests.unit.server.virtual_loop import VirtualLoop


class Nobody:
    def deliver(self, tag: Any, value: Any) -> None:
        pass


class Bench:
    def __init__(self, duties: list[Duty] | None = None) -> None:
        self.loop = VirtualLoop()
        self.replica = MemoryReplica(self.loop)
        self.failures: list[BaseException] = []
        self.runner = Runner(
            self.replica, duties or standard_duties(), self.loop, self.failures.append
        )
        self.runner.start()

    def put(self, *made: Any) -> None:
        for command in made:
            self.replica.propose(command, Nobody(), None)
        self.loop.settle()

    def advances(self) -> list[Any]:
        entries = self.replica.entries
        return [one for entry in entries for one in entry if type(one) is commands.Advance]

    def state(self, number: int) -> int:
        return self.replica.machine.ask(commands.QueryStatus(task_id(number))).state


def test_a_delayed_task_is_ready_when_it_is_due_not_at_the_next_look() -> None:
    bench = Bench()
    bench.loop.advance(3)
    bench.put(submit(1, delay_ms=250))
    bench.loop.advance(0.249)
    assert bench.state(1) == 1
    bench.loop.advance(0.003)
    assert bench.state(1) == 2
    assert len(bench.advances()) == 1


def test_a_state_that_cannot_be_read_is_told_to_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seed 110112: the monitor met the damaged table first, and its timer was gone for good."""
    bench = Bench()
    damage = DataDamaged(Path("state"), "a block does not match its checksum")

    def broken() -> tuple[int, int]:
        raise damage

    bench.put(submit(1, delay_ms=250))
    monkeypatch.setattr(bench.replica.machine, "next_due", broken)
    bench.loop.advance(1)
    assert bench.failures == [damage]


def test_an_idle_cluster_writes_nothing() -> None:
    bench = Bench()
    bench.put(submit(1))
    bench.loop.advance(3_600)
    assert len(bench.replica.entries) == 1
    assert bench.loop.timers == 1


def test_a_pending_deadline_is_marked_every_ten_seconds() -> None:
    bench = Bench()
    bench.put(submit(1, delay_ms=3_600_000))
    bench.loop.advance(61)
    assert bench.advances() == [commands.Advance(1)] * 6


def test_a_lost_lease_is_a_warning() -> None:
    bench = Bench()
    bench.put(commands.RegisterWorker(b"w" * 16, heartbeat_interval_ms=60_000))
    bench.put(submit(1), claim(lease_ms=1_000))
    with structlog.testing.capture_logs() as logs:
        bench.loop.advance(1.01)
    (line,) = [one for one in logs if one["event"] == "lease lost"]
    assert line["log_level"] == "warning"
    assert (line["task"], line["why"]) == (task_id(1).hex(), "lease_expired")
    assert bench.runner.lost_leases == 1
    assert bench.state(1) == 2


def test_what_arrived_during_a_pause_is_proposed_before_an_expiry() -> None:
    bench = Bench()
    bench.put(submit(1), claim(lease_ms=1_000))
    bench.loop.now += 1.1  # the process was suspended
    bench.runner._ring()
    bench.loop.call_soon(
        lambda: bench.replica.propose(commands.Heartbeat(b"w" * 16, [1]), Nobody(), None)
    )
    bench.loop.settle()
    assert bench.runner.lost_leases == 0
    assert bench.state(1) == 3


def test_a_duty_is_never_proposed_twice_at_once() -> None:
    bench = Bench()
    bench.put(submit(1, delay_ms=100))
    bench.replica.held = True
    bench.loop.advance(5)
    assert [type(command) for command, _, _ in bench.replica._batch] == [commands.Advance]
    bench.replica.release()
    bench.loop.advance(0.01)
    assert bench.state(1) == 2
    bench.put(submit(2, delay_ms=100))
    bench.loop.advance(0.2)
    assert bench.state(2) == 2


def test_nothing_is_proposed_without_leadership_and_all_again_with_it() -> None:
    bench = Bench()
    bench.put(submit(1, delay_ms=100))
    bench.replica.lose_leadership()
    before = len(bench.replica.entries)
    bench.loop.advance(60)
    assert len(bench.replica.entries) == before
    assert bench.loop.timers == 0
    bench.replica.lead()
    bench.loop.advance(0.01)
    assert bench.state(1) == 2


def test_what_an_older_term_proposed_does_not_count_for_the_new_one() -> None:
    bench = Bench()
    bench.put(submit(1, delay_ms=100))
    bench.replica.held = True
    bench.loop.advance(1)
    ((_, sink, tag),) = bench.replica._batch
    bench.replica._batch.clear()
    bench.replica.lose_leadership()
    bench.replica.held = False
    bench.replica.lead()
    bench.replica.held = True
    bench.loop.advance(0.1)
    assert len(bench.replica._batch) == 1
    sink.deliver(tag, refuse(ErrorCode.NO_LEADER, "late news"))
    bench.loop.advance(1)
    assert len(bench.replica._batch) == 1, "the late answer was taken for that of this term"


def test_a_refused_duty_is_tried_again_after_a_rest() -> None:
    bench = Bench()
    bench.put(submit(1, delay_ms=100))
    bench.replica.held = True
    bench.loop.advance(0.2)
    ((_, sink, tag),) = bench.replica._batch
    bench.replica._batch.clear()
    sink.deliver(tag, refuse(ErrorCode.UNAVAILABLE, "not now"))
    bench.loop.advance(0.045)
    assert bench.replica._batch == []
    bench.loop.advance(0.01)
    assert len(bench.replica._batch) == 1


def test_a_duty_without_effect_does_not_fill_the_log() -> None:
    stuck = Duty("stuck", lambda *_: commands.Advance(1), lambda *_: 0)
    bench = Bench([stuck])
    bench.loop.advance(10)
    assert 150 <= len(bench.replica.entries) <= 210


def test_many_deadlines_of_one_moment_do_not_wait_for_each_other() -> None:
    bench = Bench()
    for start in range(1, 5001, 500):
        bench.put(
            *[
                submit(n, run_at_wall_ms=bench.replica.wall_ms() + 1_000)
                for n in range(start, start + 500)
            ]
        )
    bench.loop.advance(1.05)
    assert bench.replica.machine.ready_count("q") == 5_000


def die(bench: Bench, number: int) -> None:
    bench.put(submit(number, max_retries=0), claim(number))
    bench.put(commands.TaskResult(task_id(number), number, False, None, "boom"))


def test_dead_letters_that_would_be_dropped_are_announced() -> None:
    bench = Bench()
    die(bench, 1)
    size = bench.replica.machine.ask(commands.GetStats()).dead_size
    size_max = size * 7 // 2
    bench.put(commands.Configure({"dead_size_max": size_max}))
    with structlog.testing.capture_logs() as logs:
        die(bench, 2)
        die(bench, 3)
        bench.loop.advance(60)
        die(bench, 4)
        bench.loop.advance(1)
    words = [one["event"] for one in logs if one["event"].startswith("dead letters")]
    assert len(words) == 2, words
    assert "dropped" not in words[0]
    assert "dropped" in words[1]
    assert bench.replica.machine.ask(commands.GetStats()).dead_size == 3 * size
