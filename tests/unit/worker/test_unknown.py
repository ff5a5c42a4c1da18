"""Tasks of an unknown name: given back ever later, then ended."""

from __future__ import annotations

import pytest

from taskq.results import ClaimedTask
from taskq.worker import unknown
from taskq.worker.unknown import DELAY_SECS_MAX, RELEASES_MAX, UnknownTasks


def task(number: int) -> ClaimedTask:
    task_id = number.to_bytes(16)
    return ClaimedTask(task_id, number, "q", "new.task", b"", {}, 150, 1, 30_000, None, 0)


class Heard:
    def __init__(self) -> None:
        self.delays: list[float] = []
        self.errors: list[str] = []
        self.unknown = UnknownTasks(
            ["old.task"],
            lambda _, delay: self.delays.append(delay),
            lambda _, error: self.errors.append(error),
        )


def test_ten_releases_with_growing_delays_then_the_end(caplog: pytest.LogCaptureFixture) -> None:
    heard = Heard()
    for _ in range(RELEASES_MAX):
        heard.unknown.met(task(1))
    assert heard.delays == [1, 2, 4, 8, 16, 32, 64, 64, 64, 64]
    assert max(heard.delays) == DELAY_SECS_MAX
    assert heard.errors == []
    assert len(caplog.records) == RELEASES_MAX
    assert "'new.task', which this worker does not know (it knows old.task)" in caplog.text
    heard.unknown.met(task(1))
    assert len(heard.delays) == RELEASES_MAX
    assert heard.errors[0].startswith("UNKNOWN_TASK: 10 times claimed")
    heard.unknown.met(task(1))  # redriven: it starts anew
    assert heard.delays[-1] == 1


def test_tasks_are_counted_apart_and_the_memory_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unknown, "REMEMBERED_MAX", 2)
    heard = Heard()
    for number in (1, 2, 1, 3, 2, 1):
        heard.unknown.met(task(number))
    # 2 was met longest ago when 3 came, and 1 when 2 came again.
    assert heard.delays == [1, 1, 2, 1, 1, 1]
