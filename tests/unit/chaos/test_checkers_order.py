"""Only sure inversions count against the order within a queue."""

from __future__ import annotations

from typing import Any

import pytest

from chaos.checkers import Evidence
from chaos.checkers.order import in_order
from chaos.history import Call, History
from tests.unit.chaos.small_histories import (
    A,
    B,
    C,
    call,
    claim,
    complete,
    final,
    refused,
    submit,
    task,
    unknown,
)

READY = {A: task("READY")}
DONE = {A: task("COMPLETED", 2, 1)}


def inversions(calls: list[Call], *ends: dict[str, Any]) -> list[str]:
    tasks = {B: task("COMPLETED", 1, 1)}
    for end in ends:
        tasks |= end
    return list(in_order(Evidence(History(calls, [], final(tasks)))))


def later(one: Call, end: float) -> Call:
    one.end = end
    return one


def dated(one: Call) -> Call:
    one.args["dated"] = True
    return one


AGES = call("queue", -1.0, queue="q", ageing_ms=50)
FIRST, SECOND = submit(A, 0.0), submit(B, 0.1)


@pytest.mark.parametrize(
    ("calls", "end"),
    [
        pytest.param([FIRST, SECOND, claim(1.0, (B, 1)), claim(1.1, (A, 2))], DONE, id="later"),
        pytest.param([FIRST, SECOND, claim(1.0, (B, 1))], READY, id="never"),
        pytest.param(
            [FIRST, SECOND, claim(1.0, (A, 2)), later(claim(0.9, (B, 1)), 2.0)],
            DONE,
            id="claims that overlap: the tokens tell",
        ),
        pytest.param(
            [submit(A, 0.0, priority=255), submit(B, -1.0), claim(1.0, (B, 1))],
            READY,
            id="a higher priority was there",
        ),
        pytest.param(
            [FIRST, submit(B, 0.1, 0.5), claim(1.0, (B, 1))], READY, id="passed by a delayed one"
        ),
    ],
)
def test_a_sure_inversion(calls: list[Call], end: dict[str, Any]) -> None:
    (line,) = inversions(calls, end)
    assert line.startswith(f"task {B}")
    assert A in line


@pytest.mark.parametrize(
    ("calls", "end"),
    [
        pytest.param([FIRST, SECOND, claim(1.0, (A, 1), (B, 2))], DONE, id="in order"),
        pytest.param(
            [later(submit(A, 0.0), 0.2), SECOND, claim(1.0, (B, 1))], READY, id="submits overlap"
        ),
        pytest.param([SECOND, claim(1.0, (B, 1)), submit(A, 1.5)], READY, id="came after it"),
        pytest.param([unknown(submit(A, 0.0)), SECOND, claim(1.0, (B, 1))], READY, id="unknown"),
        pytest.param([submit(A, 0.0, 2.0), SECOND, claim(1.0, (B, 1))], READY, id="delayed"),
        pytest.param([dated(submit(A, 0.0)), SECOND, claim(1.0, (B, 1))], READY, id="dated"),
        pytest.param(
            [submit(A, 0.0, queue="r"), SECOND, claim(1.0, (B, 1))], READY, id="another queue"
        ),
        pytest.param(
            [submit(A, 0.0, priority=50), SECOND, claim(1.0, (B, 1))], READY, id="lower priority"
        ),
        pytest.param(
            [submit(A, 1.005, priority=255), SECOND, claim(1.0, (B, 1))],
            READY,
            id="a higher priority came during the claim",
        ),
        pytest.param([AGES, FIRST, SECOND, claim(1.0, (B, 1))], READY, id="the queue ages"),
        pytest.param(
            [FIRST, SECOND, claim(1.0, (B, 1))], {A: task("CANCELLED")}, id="it was cancelled"
        ),
        pytest.param(
            [FIRST, SECOND, claim(1.0, (B, 2)), claim(3.0, (A, 3))],
            DONE,
            id="a lease that nobody was told of may have been its own",
        ),
        pytest.param(
            [FIRST, refused(submit(C, 0.05), "QUEUE_FULL"), SECOND, claim(1.0, (A, 1), (B, 2))],
            DONE,
            id="one was refused",
        ),
    ],
)
def test_no_sure_inversion(calls: list[Call], end: dict[str, Any]) -> None:
    assert inversions(calls, end) == []


def test_a_task_that_comes_back_is_compared_with_its_first_start() -> None:
    """A ran first, failed, and went to the end of its priority."""
    calls = [FIRST, SECOND, claim(1.0, (A, 1)), claim(1.2, (B, 2)), claim(2.0, (A, 3))]
    assert inversions([*calls, complete(A, 3, 2.1)], DONE) == []
