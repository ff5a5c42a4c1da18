"""Who is away is said once, loudly when it lasts, and again when it is back."""

from __future__ import annotations

from structlog.testing import capture_logs

from cluster.replication.peers.absences import AGAIN_SECS, STAYS_AWAY_SECS, Absences, Way
from cluster.replication.peers.tally import Tally


class Diary:
    """Absences on a clock in the test's hand, and what they said."""

    def __init__(self) -> None:
        self.now = 100.0
        self.absences = Absences(lambda: self.now)
        self.said: list[tuple[str, str, str]] = []

    def run(self, *steps: tuple[str, Way] | float | str) -> list[tuple[str, str, str]]:
        """("lost" or "back", way) of n2, seconds that pass with a look every half, or "end"; what
        was said: level, event, member."""
        with capture_logs() as lines:
            for step in steps:
                if isinstance(step, tuple):
                    name, way = step
                    if name == "lost":
                        self.absences.lost("n2", way, "closed")
                    else:
                        self.absences.back("n2", way)
                elif isinstance(step, str):
                    self.absences.end()
                else:
                    for _ in range(int(step * 2)):
                        self.now += 0.5
                        self.absences.review()
        return [(one["log_level"], one["event"], one["member"]) for one in lines]


AWAY = ("info", "a member is away", "n2")
STAYS = ("warning", "a member stays away", "n2")
BACK = ("info", "a member is back", "n2")
LOST_TO, LOST_FROM = ("lost", Way.TO), ("lost", Way.FROM)
BACK_TO, BACK_FROM = ("back", Way.TO), ("back", Way.FROM)


def test_a_restart_is_two_quiet_lines() -> None:
    dials = [LOST_TO, 0.5] * 6
    assert Diary().run(LOST_FROM, *dials, BACK_TO, BACK_FROM, 100.0) == [AWAY, BACK]


def test_who_stays_away_is_said_loudly_now_and_then() -> None:
    diary = Diary()
    assert diary.run(LOST_TO, STAYS_AWAY_SECS - 0.5) == [AWAY]
    assert diary.run(0.5) == [STAYS]
    assert diary.run(AGAIN_SECS - 0.5) == []
    assert diary.run(0.5) == [STAYS]
    assert diary.run(BACK_TO, 100.0) == [BACK]


def test_a_peer_is_back_when_it_speaks_and_is_spoken_to() -> None:
    diary = Diary()
    assert diary.run(LOST_TO, LOST_FROM, BACK_TO) == [AWAY]
    assert diary.run(STAYS_AWAY_SECS) == [STAYS], "nobody dials this node"
    assert diary.run(BACK_FROM) == [BACK]


def test_connections_that_were_never_missed_are_no_news() -> None:
    assert Diary().run(BACK_TO, BACK_FROM, 100.0) == []


def test_a_node_that_stops_misses_nobody() -> None:
    assert Diary().run(LOST_TO, "end", LOST_FROM, LOST_TO, 100.0) == [AWAY]


def test_a_peer_that_is_none_any_more_is_not_missed() -> None:
    diary = Diary()
    diary.run(LOST_TO)
    diary.absences.forget("n2")
    assert diary.run(100.0) == []


def test_absences_are_counted_and_everything_else_is_said_for_people() -> None:
    tally = Tally(lambda: 0.0)
    with capture_logs() as lines:
        for kind in ("unreachable", "lost", "left", "secret", "other_cluster"):
            tally.note(kind, "n2", "why")
    assert all(tally.counts[kind] == 1 for kind in ("unreachable", "lost", "left"))
    secret = "a connection was closed: the other end did not prove that it has the secret"
    assert [(one["log_level"], one["event"]) for one in lines] == [
        ("info", "a member is away"),
        ("warning", secret),
        ("warning", "a connection between nodes was refused"),
    ]
