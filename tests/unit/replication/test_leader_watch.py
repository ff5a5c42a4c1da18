"""That nobody leads is said once it lasts, when something changes, and now and then (A8)."""

from __future__ import annotations

from structlog.testing import capture_logs

from cluster.replication.leader_watch import AGAIN_SECS, PATIENCE_SECS, LeaderWatch
from taskq.results import ClusterStatus, MemberRole, MemberView

LOST = "lost its log; does not vote until it is whole"


def view(node_id: str, role: MemberRole, state: str = "") -> MemberView:
    return MemberView(node_id, "", role.value, None, None, None, None, None, None, state)


class Cluster:
    """What a node knows, its watch, and a clock that the test moves."""

    def __init__(self) -> None:
        self.members = [view("n1", MemberRole.FOLLOWER), view("n2", MemberRole.UNREACHABLE)]
        self.members.append(view("n3", MemberRole.FOLLOWER))
        self.now = 100.0
        self.watch = LeaderWatch(self.status, self.now)

    def status(self) -> ClusterStatus:
        return ClusterStatus("n1", "", 1, 1, 1, "c", 0, self.members)

    def look_on(self, secs: float, leader: str = "") -> None:
        """Twice a second for so long."""
        for _ in range(int(secs * 2)):
            self.now += 0.5
            self.watch.look(leader, self.now)

    def look(self, secs: float, leader: str = "") -> list[str]:
        """As `look_on`; what was said."""
        with capture_logs() as said:
            self.look_on(secs, leader)
        return [str(line.get("missing", line["event"])) for line in said]


def test_an_election_is_no_news() -> None:
    cluster = Cluster()
    assert cluster.look(PATIENCE_SECS - 0.5) == []
    assert cluster.look(1.0, leader="n1") == []
    assert cluster.look(PATIENCE_SECS - 0.5) == []


def test_it_is_said_once_and_again_after_a_while() -> None:
    cluster = Cluster()
    assert cluster.look(PATIENCE_SECS) == ["n2 cannot be reached"]
    assert cluster.look(AGAIN_SECS - 0.5) == []
    assert cluster.look(0.5) == ["n2 cannot be reached"]


def test_one_down_and_one_wiped_is_said_plainly() -> None:
    cluster = Cluster()
    cluster.look(PATIENCE_SECS)
    cluster.members[2] = view("n3", MemberRole.NON_VOTING, LOST)
    assert cluster.look(1.0) == [f"n2 cannot be reached; n3 {LOST}"]


def test_what_can_be_done_is_said_where_too_many_are_missing() -> None:
    cluster = Cluster()
    for place, offered in ((1, False), (2, True)):
        cluster.members[place] = view(f"n{place + 1}", MemberRole.UNREACHABLE)
        with capture_logs() as said:
            cluster.look_on(PATIENCE_SECS)
        assert [("taskq cluster recover" in str(line.get("remedy"))) for line in said] == [offered]


def test_its_end_is_said_where_its_beginning_was() -> None:
    cluster = Cluster()
    cluster.look(PATIENCE_SECS)
    assert cluster.look(1.0, leader="n3") == ["there is a leader again"]
    assert cluster.look(PATIENCE_SECS - 0.5) == []
