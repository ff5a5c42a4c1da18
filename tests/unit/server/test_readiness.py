"""When requests should be sent to a node."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.server.readiness import GRACE_SECS, HELD_SECS, LAG_MAX, LOST_LOG, NO_LEADER, Readiness
from cluster.vitals import Vitals

FOLLOWS: dict[str, Any] = {"leader": "n2", "applied": 10_000, "target": 10_000 + LAG_MAX}
BEHIND = {**FOLLOWS, "target": 10_001 + LAG_MAX}


class Course:
    """A node looked at twice a second."""

    def __init__(self) -> None:
        self.judge = Readiness()
        self.now = 50.0

    def go_on(self, secs: float, refusal: str = "", step: float = 0.5, **vitals: Any) -> str:
        for _ in range(max(int(secs / step), 1)):
            self.now += step
            self.judge.look(Vitals(**vitals), refusal, self.now)
        return self.judge.lacking()


def ready(**vitals: Any) -> Course:
    course = Course()
    assert course.go_on(HELD_SECS + 1, **(vitals or FOLLOWS)) == ""
    return course


def test_before_the_first_look() -> None:
    assert Readiness().lacking()


def test_a_leader_is_ready_at_once() -> None:
    assert Course().go_on(0, leader="n1", leads=True) == ""


def test_a_follower_has_to_keep_up_for_a_while() -> None:
    course = Course()
    assert "ready after 3 s" in course.go_on(HELD_SECS, **FOLLOWS)
    assert course.go_on(0, **FOLLOWS) == ""


def test_who_falls_behind_again_begins_anew() -> None:
    course = Course()
    course.go_on(HELD_SECS, **FOLLOWS)
    assert course.go_on(0.5, **BEHIND) == f"{LAG_MAX + 1} entries behind the leader"
    assert course.go_on(HELD_SECS, **FOLLOWS)
    assert course.go_on(0.5, **FOLLOWS) == ""


@pytest.mark.parametrize(("vitals", "why"), [({"leader": ""}, NO_LEADER), (BEHIND, "behind")])
def test_an_election_or_a_burst_is_survived(vitals: dict[str, Any], why: str) -> None:
    course = ready()
    assert course.go_on(GRACE_SECS, **vitals) == ""
    assert why in course.go_on(0.5, **vitals)
    assert why not in course.go_on(0.5, **FOLLOWS)
    assert course.go_on(HELD_SECS, **FOLLOWS) == ""


def test_elections_one_after_the_other_do_not_add_up() -> None:
    course = ready()
    for _ in range(20):
        assert course.go_on(GRACE_SECS - 1, leader="") == ""
        assert course.go_on(0.5, **FOLLOWS) == ""


@pytest.mark.parametrize(
    ("vitals", "refusal", "why"),
    [
        ({**FOLLOWS, "obstacle": "opening again"}, "", "opening again"),
        ({**FOLLOWS, "obstacle": "removed at entry 7"}, "", "removed at entry 7"),
        ({**FOLLOWS, "lost_log": True}, "", LOST_LOG),
        (FOLLOWS, "the disk has 3 bytes left", "the disk has 3 bytes left"),
        ({"leader": "n1", "leads": True}, "the disk has 3 bytes left", "3 bytes left"),
    ],
)
def test_who_cannot_serve_is_left_at_once(vitals: dict[str, Any], refusal: str, why: str) -> None:
    course = ready()
    assert why in course.go_on(0, refusal, **vitals)
    assert "caught up for" in course.go_on(0, **FOLLOWS)
    assert course.go_on(HELD_SECS, **FOLLOWS) == ""


def test_time_asleep_does_not_count() -> None:
    course = Course()
    course.go_on(0.5, **FOLLOWS)
    assert course.go_on(3_600, step=3_600, **FOLLOWS)
    course = ready()
    assert course.go_on(3_600, step=3_600, leader="") == ""
