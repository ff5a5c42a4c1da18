"""Tasks of an unknown name: a warning, and a release that says so."""

from __future__ import annotations

import pytest

from taskq.commands import Nack
from taskq.limits import UNKNOWN_DELAY_MS_DEFAULT
from taskq.results import ClaimedTask
from taskq.worker.unknown import unknown_release

TASK_ID = bytes(15) + b"\x07"
TASK = ClaimedTask(TASK_ID, 5, "q", "new.task", b"", {}, 150, 1, 30_000, None, 0)


def test_the_release_says_that_the_name_is_unknown(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(12):  # the worker does not count
        release = unknown_release(TASK, ["old.task"])
        assert release == Nack(TASK_ID, 5, UNKNOWN_DELAY_MS_DEFAULT, True)
    assert len(caplog.records) == 12
    (text,) = set(caplog.messages)
    assert text == (
        "Task 00000000-0000-0000-0000-000000000007 is a 'new.task', which this worker does not "
        "know (it knows old.task): given back; the 10th time it is dead."
    )


def test_of_many_names_the_warning_has_the_first(caplog: pytest.LogCaptureFixture) -> None:
    unknown_release(TASK, [f"t{number}" for number in range(10, 40)])
    assert "t28, t29, ...)" in caplog.text
