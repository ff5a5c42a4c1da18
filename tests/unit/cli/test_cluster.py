"""`taskq cluster`: what is shown of a cluster, with and without a leader."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from taskq.commands import GetCluster, TransferLeadership
from taskq.errors import ConnectionFailed, ErrorCode, Unavailable
from taskq.results import ClusterStatus, MemberRole, MemberView, Transferred

GIB = 1 << 30


def member(number: int, role: MemberRole, lag: int | None = 0, state: str = "") -> MemberView:
    known = None if lag is None else 1234 - lag
    heard = None if role is MemberRole.LEADER else 250
    address = f"10.0.0.{number}:6379"
    return MemberView(
        *(f"node{number}", address, role.value, known, known, lag, heard, 3 * GIB, 2048, state)
    )


def status(node: str = "node1", leader: str = "node1", **changes: Any) -> ClusterStatus:
    members = [
        member(1, MemberRole.LEADER),
        member(2, MemberRole.FOLLOWER, 7),
        member(3, MemberRole.UNREACHABLE, None, "not heard of since 12:00"),
    ]
    shown = ClusterStatus(node, leader, 5, 1234, 1234, "c0ffee", 90_000, members)
    return shown._replace(**changes)


def serve(fake: Any, near: Any, far: Any = None) -> None:
    """`near` answers with `stale`, `far` (the leader) without."""

    def call(command: Any, timeout: float | None = None) -> Any:
        answer = near if command == GetCluster(stale=True) else far
        if isinstance(answer, Exception):
            raise answer
        return answer

    fake.answers["call"] = call


def test_members_are_shown_with_what_is_known(fake: Any, taskq: Any) -> None:
    serve(fake, status())
    shown = taskq("cluster", "status")
    assert shown.exit_code == 0, shown.output
    lines = shown.stdout.splitlines()
    row = next(line for line in lines if line.strip().startswith("node2"))
    cells = ["node2", "follower", "10.0.0.2:6379", "1,227", "1,227", "7", "0.25", "s", "ago"]
    assert row.split() == [*cells, "3.0", "GiB", "2.0", "KiB"]
    lost = next(line for line in lines if line.strip().startswith("node3"))
    assert "unreachable" in lost
    assert "not heard of since 12:00" in lost
    assert "leader        node1, term 5" in shown.stdout
    assert lines[-1] == "2 of 3 members serve; the loss of another one stops the cluster."


def test_a_whole_cluster_says_what_it_can_lose(fake: Any, taskq: Any) -> None:
    three = [member(n, MemberRole.FOLLOWER) for n in (1, 2, 3)]
    five = [member(n, MemberRole.FOLLOWER) for n in range(1, 6)]
    sentences = []
    for members in (three, five, three[:2], three[:1]):
        serve(fake, status(members=members))
        sentences.append(taskq("cluster", "status").stdout.splitlines()[-1])
    assert sentences == [
        "All 3 members serve; the cluster goes on without any one of them.",
        "All 5 members serve; the cluster goes on without any 2 of them.",
        "All 2 members serve; the loss of one stops the cluster.",
        "The only member serves; its loss stops the cluster.",
    ]


def test_the_leader_is_asked_where_another_node_answers(fake: Any, taskq: Any) -> None:
    serve(fake, status(node="node2", members=[]), status(node="node1"))
    assert json.loads(taskq("cluster", "status", "--json").stdout)["node_id"] == "node1"


@pytest.mark.parametrize(
    "failure", [Unavailable(ErrorCode.NO_LEADER, "nobody leads"), ConnectionFailed("gone")]
)
def test_the_node_at_hand_answers_for_a_leader_that_does_not(
    fake: Any, taskq: Any, failure: Exception
) -> None:
    serve(fake, status(node="node2"), failure)
    shown = taskq("cluster", "status")
    assert shown.exit_code == 0
    assert "asked         node2" in shown.stdout


GONE = "node9 is no member of the cluster any more: entry 11 of the log removed it"


def of_removed() -> ClusterStatus:
    """What a node tells that was removed."""
    own = member(9, MemberRole.REMOVED, state=GONE)
    others = [member(n, MemberRole.UNREACHABLE, None) for n in (1, 2)]
    return status(node="node9", leader="", members=[*others, own])


def test_the_members_are_asked_where_a_removed_node_answers(fake: Any, taskq: Any) -> None:
    serve(fake, of_removed(), status())
    shown = taskq("cluster", "status")
    assert shown.exit_code == 0, shown.output
    lines = shown.stdout.splitlines()
    assert "leader        node1, term 5" in shown.stdout
    assert any(line.split()[:2] == ["node9", "removed"] for line in lines)
    assert lines[-2:] == [
        "2 of 3 members serve; the loss of another one stops the cluster.",
        f"node9 counts for nothing: {GONE}.",
    ]
    document = json.loads(taskq("cluster", "status", "--json").stdout)
    assert [one["role"] for one in document["members"]][-1] == "removed"


@pytest.mark.parametrize("other", [None, status(node="node2", leader="")])
def test_the_members_are_asked_for_what_they_know_where_nobody_leads(
    fake: Any, taskq: Any, other: ClusterStatus | None
) -> None:
    """`other`: the answer of the next node; None where there is none."""
    stale = iter([of_removed(), other or ConnectionFailed("no other node is known")])

    def call(command: Any, timeout: float | None = None) -> Any:
        told = next(stale) if command.stale else Unavailable(ErrorCode.NO_LEADER, "nobody leads")
        if isinstance(told, Exception):
            raise told
        return told

    fake.answers["call"] = call
    shown = taskq("cluster", "status")
    assert shown.exit_code == 1, shown.output
    assert shown.stdout.splitlines()[-1] == f"node9 counts for nothing: {GONE}."
    assert ("NOBODY LEADS" in shown.stdout) is (other is not None)


def test_a_member_is_not_said_to_be_none_yet(fake: Any, taskq: Any) -> None:
    """Its own words of a moment ago, and the leader has added it since."""
    words = "no member yet: `taskq cluster add node2 10.0.0.2:6380` makes it one"
    two = [member(1, MemberRole.LEADER), member(2, MemberRole.FOLLOWER, state=words)]
    serve(fake, status(members=two))
    shown = taskq("cluster", "status").stdout
    assert "no member yet" not in shown
    assert "All 2 members serve" in shown
    document = json.loads(taskq("cluster", "status", "--json").stdout)
    assert [one["state"] for one in document["members"]] == ["", ""]
    serve(fake, status(members=[two[0], two[1]._replace(role=MemberRole.LEARNER.value)]))
    shown = taskq("cluster", "status").stdout
    assert "no member yet" in shown


def test_a_learner_is_not_counted(fake: Any, taskq: Any) -> None:
    three = [member(1, MemberRole.LEADER), member(2, MemberRole.FOLLOWER)]
    serve(fake, status(members=[*three, member(3, MemberRole.LEARNER, None, "cannot be reached")]))
    shown = taskq("cluster", "status").stdout
    assert shown.splitlines()[-1] == "All 2 members serve; the loss of one stops the cluster."


def test_no_leader_is_said_and_is_1(fake: Any, taskq: Any) -> None:
    serve(fake, status(leader=""))
    shown = taskq("cluster", "status")
    assert shown.exit_code == 1
    assert "NOBODY LEADS: requests wait. 2 of 3 members can be counted on; 2 must" in shown.stdout
    document = taskq("cluster", "status", "--json")
    assert document.exit_code == 1
    assert json.loads(document.stdout)["leader"] == ""


def test_founding_is_said(fake: Any, taskq: Any) -> None:
    waiting = "the cluster is being founded; waiting for node2"
    members = [member(1, MemberRole.FOUNDING, None, waiting)]
    serve(fake, status(leader="", cluster_id="", members=members))
    shown = taskq("cluster", "status")
    assert shown.exit_code == 1
    assert "cluster       being founded" in shown.stdout
    assert waiting in shown.stdout
    assert "serves once all founding members were there" in shown.stdout


def test_document(fake: Any, taskq: Any) -> None:
    serve(fake, status())
    document = json.loads(taskq("cluster", "status", "--json").stdout)
    assert document["cluster_time"] == 90
    assert document["members"][1]["heard_secs_ago"] == 0.25
    assert document["members"][2] == {
        "node_id": "node3",
        "address": "10.0.0.3:6379",
        "role": "unreachable",
        "match_index": None,
        "applied_index": None,
        "lag": None,
        "free_bytes": 3 * GIB,
        "log_bytes": 2048,
        "state": "not heard of since 12:00",
        "heard_secs_ago": 0.25,
        "version": "",
        "level_min": None,
        "level_max": None,
    }


@pytest.fixture
def three_looks(fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C after three looks, of which the second finds nobody."""
    naps: list[float] = []

    def sleep(secs: float) -> None:
        naps.append(secs)
        if len(naps) == 3:
            raise KeyboardInterrupt
        serve(fake, ConnectionFailed("nobody there") if len(naps) == 1 else status())

    monkeypatch.setattr(time, "sleep", sleep)
    serve(fake, status())


@pytest.mark.usefixtures("three_looks")
def test_watching_goes_on_over_errors_until_ctrl_c(taskq: Any) -> None:
    shown = taskq("cluster", "status", "--watch")
    assert shown.exit_code == 130
    assert shown.stdout.count("node1, term 5") == 2
    assert shown.stdout.count("Cannot reach the cluster: nobody there") == 1


@pytest.mark.usefixtures("three_looks")
def test_watching_as_json_is_a_document_a_line(taskq: Any) -> None:
    shown = taskq("cluster", "status", "--watch", "--json")
    assert shown.exit_code == 130
    first, lost, last = map(json.loads, shown.stdout.splitlines())
    assert first["leader"] == last["leader"] == "node1"
    assert (lost["error"]["kind"], lost["error"]["exit"]) == ("ConnectionFailed", 3)


def test_transfer_says_who_leads(fake: Any, taskq: Any) -> None:
    serve(fake, status(), Transferred("node2", 6))
    assert taskq("cluster", "transfer", "node2").stdout == "node2 leads now (term 6).\n"
    document = taskq("cluster", "transfer", "--json").stdout
    assert json.loads(document) == {"leader": "node2", "term": 6}
    sent = [args[0] for _, args, _ in fake.calls]
    near = GetCluster(stale=True)
    assert sent == [near, TransferLeadership("node2"), TransferLeadership("")]


@pytest.mark.parametrize(
    ("node", "why"),
    [
        ("node9", "node9 is no member of the cluster; the members are node1, node2 and node3."),
        ("node3", "node3 cannot lead now: it is unreachable."),
    ],
)
def test_transfer_to_a_node_that_cannot_lead(fake: Any, taskq: Any, node: str, why: str) -> None:
    serve(fake, status())
    failed = taskq("cluster", "transfer", node)
    assert (failed.exit_code, failed.stderr) == (1, why + "\n")
    assert TransferLeadership(node) not in [args[0] for _, args, _ in fake.calls]


def test_transfer_that_is_refused(fake: Any, taskq: Any) -> None:
    serve(fake, status(), Unavailable(ErrorCode.UNAVAILABLE, "node2 did not take over in 1 s"))
    failed = taskq("cluster", "transfer", "node2")
    assert failed.exit_code == 1
    assert "did not take over" in failed.stderr
