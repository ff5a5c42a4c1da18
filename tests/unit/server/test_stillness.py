"""When a node is wedged, and when it must be left alone."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.server import stillness
from cluster.server.stillness import Stillness
from cluster.vitals import Vitals

LIMIT_SECS = 10.0
WRITING, IDLE = (True, 7), (False, 7)


class Course:
    """A node looked at twice a second; `rounds` move by themselves unless they are told."""

    def __init__(self) -> None:
        self.judge = Stillness(LIMIT_SECS)
        self.now = 50.0
        self.rounds = 0

    def go_on(self, secs: float, step: float = 0.5, **vitals: Any) -> str:
        for _ in range(int(secs / step)):
            self.now += step
            self.rounds += 1
            self.judge.look(Vitals(**{"rounds": self.rounds, **vitals}), self.now)
        return self.judge.wedged()


@pytest.mark.parametrize(
    ("vitals", "what"),
    [
        ({"rounds": 5}, stillness.DRIVER),
        ({"writes": (WRITING, IDLE)}, stillness.LOG),
        ({"writes": (IDLE, WRITING)}, stillness.STATE),
        ({"owed": True, "moved": (3, 9)}, stillness.ENTRIES),
        ({"owed": True, "moved": (3, 9), "leader": "n2"}, stillness.ENTRIES),
        ({"writes": (WRITING, IDLE), "lost_log": True}, stillness.LOG),
    ],
)
def test_what_stands_still_is_named(vitals: dict[str, Any], what: str) -> None:
    course = Course()
    assert course.go_on(LIMIT_SECS, **vitals) == ""
    assert course.go_on(1, **vitals).startswith(f"{what}, for 10 s")
    assert f"for {30:d} s" in course.go_on(20, **vitals)


def test_it_lives_again_as_soon_as_something_moves() -> None:
    course = Course()
    assert course.go_on(15, owed=True, moved=(3, 9))
    assert course.go_on(0.5, owed=True, moved=(4, 9)) == ""
    assert course.go_on(9, owed=True, moved=(4, 9)) == ""
    assert course.go_on(0.5, moved=(4, 9)) == ""  # nothing is owed any more
    assert course.go_on(9.5, owed=True, moved=(4, 9)) == ""


def test_a_write_that_ends_is_not_the_next_one() -> None:
    course = Course()
    for count in range(40):
        assert course.go_on(2, writes=((True, count), (True, count))) == ""


@pytest.mark.parametrize(
    "vitals",
    [
        {"leader": ""},  # no quorum: nothing is committed, nothing is owed
        {"leader": "n2", "applied": 4, "target": 900_000},  # it waits for its state
        {"obstacle": "the node's disk failed and is being opened again", "rounds": 0},
        {"obstacle": "waits for n2 and n3", "owed": True},
        {"obstacle": "removed from the cluster", "rounds": 3},
        {"lost_log": True},
    ],
)
def test_who_waits_for_others_or_heals_lives(vitals: dict[str, Any]) -> None:
    assert Course().go_on(3_600, **vitals) == ""


def test_opening_the_folder_again_begins_anew() -> None:
    course = Course()
    assert course.go_on(LIMIT_SECS - 1, writes=(WRITING, IDLE)) == ""
    assert course.go_on(1, obstacle="opening again") == ""
    assert course.go_on(LIMIT_SECS - 1, writes=(WRITING, IDLE)) == ""


def test_a_suspended_machine_did_not_stand_still() -> None:
    course = Course()
    vitals = {"writes": (WRITING, IDLE), "owed": True, "rounds": 5}
    assert course.go_on(2, **vitals) == ""
    assert course.go_on(7_200, step=3_600, **vitals) == ""
    assert course.go_on(LIMIT_SECS, **vitals)


def test_a_clock_that_goes_back_frees_nobody() -> None:
    course = Course()
    course.go_on(LIMIT_SECS + 1, rounds=5)
    course.now -= 1_000
    assert course.go_on(1, rounds=5)
