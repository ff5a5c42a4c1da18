"""Each duty as a pure function of the machine and the two clocks."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.monitors import leases, retention, time_mark
from taskq import commands
from taskq.machine.entry import encode_entry
from taskq.machine.machine import Applied, Machine
from taskq.machine.view import MemoryView
from tests.unit.server.rig import claim, submit, task_id

WALL = 1_800_000_000_000
DAY_MS = 86_400_000


class Log:
    """A machine and the two clocks."""

    def __init__(self, **settings: int) -> None:
        self.machine = Machine(MemoryView())
        self.elapsed = 0
        self.wall = WALL
        if settings:
            self.apply(commands.Configure(settings))

    def apply(self, *commands_: Any) -> Applied:
        return self.machine.apply(encode_entry(self.elapsed, self.wall, commands_))

    def pass_ms(self, passed: int) -> None:
        self.elapsed += passed
        self.wall += passed

    @property
    def now(self) -> tuple[Machine, int, int]:
        return self.machine, self.elapsed, self.wall


def test_nothing_is_due_in_an_empty_queue() -> None:
    log = Log()
    assert leases.propose(*log.now) is None
    assert leases.wake_ms(*log.now) == leases.LOOK_MS
    assert time_mark.propose(*log.now) is None
    assert retention.propose(*log.now) is None
    assert retention.wake_ms(*log.now) == retention.LOOK_MS


@pytest.mark.parametrize(
    ("made", "due_ms"),
    [
        ((submit(1, delay_ms=700),), 700),
        ((submit(1, run_at_wall_ms=WALL + 900),), 900),
        ((submit(1, ttl_ms=400),), 400),
        ((submit(1), claim(lease_ms=1_000)), 1_000),
        ((commands.RegisterWorker(b"w" * 16, heartbeat_interval_ms=300),), 600),
    ],
)
def test_an_advance_is_due_exactly_when_something_is(made: tuple[Any, ...], due_ms: int) -> None:
    log = Log()
    log.apply(*made)
    assert leases.wake_ms(*log.now) == due_ms
    log.pass_ms(due_ms - 1)
    assert leases.propose(*log.now) is None
    assert leases.wake_ms(*log.now) == 1
    log.pass_ms(1)
    assert leases.wake_ms(*log.now) == 0
    command = leases.propose(*log.now)
    assert command == commands.Advance()
    log.apply(command)
    assert leases.propose(*log.now) is None


def test_a_task_that_fails_comes_back_by_an_advance() -> None:
    log = Log()
    log.apply(submit(1, backoff_ms=1_000), claim())
    log.apply(commands.TaskResult(task_id(1), 1, False, None, "boom"))
    wait = leases.wake_ms(*log.now)
    assert 800 <= wait <= 1_200
    log.pass_ms(wait)
    command = leases.propose(*log.now)
    assert log.apply(command).readied == {"q"}


def test_a_mark_keeps_cluster_time_while_something_waits_for_it() -> None:
    log = Log()
    log.apply(submit(1, delay_ms=3_600_000))
    assert time_mark.wake_ms(*log.now) == 10_000
    log.pass_ms(9_999)
    assert time_mark.propose(*log.now) is None
    assert time_mark.wake_ms(*log.now) == 1
    log.pass_ms(1)
    command = time_mark.propose(*log.now)
    assert command is not None
    log.apply(command)
    assert log.machine.elapsed_ms == 10_000
    assert time_mark.propose(*log.now) is None


def test_no_mark_where_nothing_waits_for_cluster_time() -> None:
    log = Log()
    log.apply(submit(1), submit(2, run_at_wall_ms=WALL + DAY_MS))
    log.pass_ms(3_600_000)
    assert time_mark.propose(*log.now) is None


def finished(log: Log, number: int) -> None:
    log.apply(submit(number), commands.CancelTask(task_id(number)))


def test_ended_tasks_go_when_their_time_is_over() -> None:
    log = Log(retention_ms=60_000)
    finished(log, 1)
    due = 60_000 + retention.COLLECT_MS
    assert retention.wake_ms(*log.now) == retention.LOOK_MS
    log.pass_ms(due - 1)
    assert (retention.propose(*log.now), retention.wake_ms(*log.now)) == (None, 1)
    log.pass_ms(1)
    command = retention.propose(*log.now)
    assert command == commands.Retain()
    log.apply(command)
    assert log.machine.ask(commands.QueryStatus(task_id(1))).code == "NOT_FOUND"
    assert retention.propose(*log.now) is None


def test_ended_tasks_go_when_they_take_too_much() -> None:
    log = Log(retention_size_max=1_000)
    for number in range(1, 10):
        finished(log, number)
    assert retention.wake_ms(*log.now) == 0
    log.apply(retention.propose(*log.now))
    assert log.machine.ask(commands.GetStats()).finished_size <= 1_000
    assert retention.propose(*log.now) is None


def test_people_are_warned_a_day_before_dead_letters_are_too_old() -> None:
    day_ms = 86_400_000
    log = Log(dead_retention_ms=3 * day_ms)
    log.apply(submit(1, max_retries=0), claim(1))
    log.apply(commands.TaskResult(task_id(1), 1, False, None, "boom"))
    assert retention.warning(log.machine) == ""
    log.pass_ms(2 * day_ms - 1)
    log.apply(commands.Advance(1))
    assert retention.warning(log.machine) == ""
    log.pass_ms(2)
    log.apply(commands.Advance(1))
    assert "within a day" in retention.warning(log.machine)


def test_people_are_warned_before_dead_letters_go() -> None:
    log = Log(dead_size_max=4_000)
    words = []
    for number in range(1, 16):
        log.apply(submit(number, max_retries=0), claim(number))
        log.apply(commands.TaskResult(task_id(number), number, False, None, "boom"))
        words.append(retention.warning(log.machine))
        assert (retention.propose(*log.now) is not None) == ("dropped" in words[-1])
    assert words[0] == ""
    first_warning = next(n for n, word in enumerate(words) if word)
    first_drop = next(n for n, word in enumerate(words) if "dropped" in word)
    assert first_warning < first_drop
