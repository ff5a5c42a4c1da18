"""When a probe's answers count."""

from __future__ import annotations

from deploy.harness.pod_spec import Probe
from deploy.harness.probing import Judge


def told(judge: Judge, answers: str) -> list[bool]:
    return [judge.note(one == "+") for one in answers]


def test_it_fails_after_as_many_failures_in_a_row_as_it_says() -> None:
    judge = Judge(Probe("/", 1, failures_max=3), passing=True)
    assert told(judge, "--+--") == [False] * 5
    assert judge.passing
    assert told(judge, "-") == [True]
    assert not judge.passing
    assert told(judge, "----") == [False] * 4, "it is told once"


def test_it_passes_after_as_many_successes_in_a_row_as_it_says() -> None:
    judge = Judge(Probe("/", 1, successes_min=2), passing=False)
    assert told(judge, "+-+") == [False] * 3
    assert told(judge, "+") == [True]
    assert judge.passing
