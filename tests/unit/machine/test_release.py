"""Releases by workers that do not know the task, as far as the scripts cannot say it."""

from __future__ import annotations

import msgpack
import pytest

from taskq import commands
from taskq.levels import LEVEL_FIRST
from taskq.limits import TASK_NAME_SIZE_MAX, UNKNOWN_RELEASES_MAX
from taskq.machine.entry import encode_entry
from taskq.machine.task import SCHEDULED, Task
from taskq.registry import MESSAGE_OF
from tests.unit.machine.script import Script, id_of

TASK = id_of("a")


def head_of(script: Script) -> Task:
    return script.tasks()[TASK]


@pytest.mark.parametrize("name", ["new.task", "", "a\nb", "\U0010ffff" * TASK_NAME_SIZE_MAX, '"é'])
def test_the_reason_names_the_task_and_is_the_error_of_its_last_attempt(name: str) -> None:
    script = Script()
    script.machine.apply(encode_entry(0, 0, [commands.SubmitTask(TASK, "q", name)]))
    for count in range(1, UNKNOWN_RELEASES_MAX + 1):
        script.run(["tick 64s", "advance", f"claim w{count} #1 q"])
        script.run([f"release a token={count} unknown"])
    view = script.machine.ask(commands.QueryStatus(TASK))
    assert view.reason == (
        f'UNKNOWN_TASK: 10 times given back by workers that know no task "{name}"'
    )
    ((number, worker, _, _, outcome, error),) = view.attempts
    assert (number, outcome, error) == (1, "unknown_task", view.reason)
    assert worker == id_of("w10").hex()


def test_a_wanted_cancellation_goes_before_the_tenth_release() -> None:
    script = Script()
    script.run(["submit q id=a"])
    for count in range(1, UNKNOWN_RELEASES_MAX):
        script.run(["tick 64s", "advance", f"claim w{count} #1 q"])
        script.run([f"release a token={count} unknown"])
    script.run(["tick 64s", "advance", "claim w #1 q"])
    script.run(["cancel a"])
    assert script.run(["release a token=10 unknown"]) == ["cancelled", "-> ended a"]


@pytest.mark.parametrize(("left_out", "unknown_releases"), [(0, 1), (1, 0), (2, 0)])
def test_an_entry_without_the_flag_is_an_ordinary_release(
    left_out: int, unknown_releases: int
) -> None:
    script = Script()
    script.run(["submit q id=a"])
    script.run(["claim w #1 q"])
    fields = [TASK, 1, 5_000, True][: 4 - left_out]
    code = MESSAGE_OF[commands.Nack].code
    entry = bytes([LEVEL_FIRST]) + msgpack.packb((script.elapsed, script.wall, [(code, fields)]))
    (reply,) = script.machine.apply(entry).results
    head = head_of(script)
    assert head.unknown_releases == unknown_releases
    assert head.state == reply.state
    assert (head.state == SCHEDULED) == (left_out < 2)
