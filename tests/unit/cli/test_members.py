"""`taskq cluster add`, `remove`, `replace`: asked again until done, progress on standard error."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from taskq.cli import members
from taskq.commands import AddMember, RemoveMember
from taskq.errors import (
    ConnectionFailed,
    ErrorCode,
    NotFound,
    OutcomeUnknown,
    RequestRefused,
    Unavailable,
)
from taskq.results import MemberChange
from tests.unit.cli.documented import check

THREE = [[f"node{n}", f"10.0.0.{n}:6380"] for n in (1, 2, 3)]
FOUR = [*THREE, ["node4", "10.0.0.4:6380"]]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(members.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(members.time, "sleep", lambda secs: now.__setitem__(0, now[0] + 2))


def answers(fake: Any, *values: Any) -> None:
    waiting = list(values)

    def call(command: Any, timeout: float | None = None) -> Any:
        value = waiting.pop(0)
        if isinstance(value, Exception):
            raise value
        return value

    fake.answers["call"] = call


def asked(fake: Any) -> list[Any]:
    return [arguments[0] for _, arguments, _ in fake.calls]


def test_adding_goes_on_until_it_is_done_and_tells_how_far_it_is(fake: Any, taskq: Any) -> None:
    answers(
        fake,
        MemberChange("node4", "connecting", None, THREE),
        Unavailable(ErrorCode.NO_LEADER, "nobody leads"),
        MemberChange("node4", "catching up", 12_345, THREE),
        MemberChange("node4", "changing", None, FOUR),
        MemberChange("node4", "done", None, FOUR),
    )
    shown = taskq("cluster", "add", "node4", "10.0.0.4:6380")
    assert shown.exit_code == 0, shown.output
    assert shown.stdout == (
        "node4 is a member now: the members are node1, node2, node3 and node4.\n"
        "Before any of them starts again, name all in its raft.peers: node1=10.0.0.1:6380,"
        "node2=10.0.0.2:6380,node3=10.0.0.3:6380,node4=10.0.0.4:6380\n"
    )
    assert shown.stderr.splitlines() == [
        "node4: connecting",
        "node4: nobody leads [NO_LEADER]",
        "node4: catching up, 12,345 entries to go",
        "node4: changing",
    ]
    assert set(asked(fake)) == {AddMember("node4", "10.0.0.4:6380")}


@pytest.mark.parametrize(
    ("unknown", "peers", "words"),
    [
        (
            ["node1"],
            "node1=HOST:PORT,node2=10.0.0.2:6380,node3=10.0.0.3:6380",
            "Put the address of the Raft port of node1 in the place of HOST:PORT.",
        ),
        (
            ["node1", "node2"],
            "node1=HOST:PORT,node2=HOST:PORT,node3=10.0.0.3:6380",
            "Put the addresses of the Raft ports of node1 and node2 in the place of HOST:PORT.",
        ),
    ],
)
def test_an_address_that_the_cluster_does_not_know_is_to_be_put_in(
    fake: Any, taskq: Any, unknown: list[str], peers: str, words: str
) -> None:
    """As after a restore."""
    known = [[one, "" if one in unknown else at] for one, at in THREE]
    answers(fake, MemberChange("node3", "done", None, known))
    shown = taskq("cluster", "add", "node3", "10.0.0.3:6380")
    assert shown.stdout.splitlines()[1:] == [
        f"Before any of them starts again, name all in its raft.peers: {peers}",
        words,
    ]


def alternately(fake: Any, *values: Any) -> None:
    """For ever."""
    waiting = itertools.cycle(values)

    def call(command: Any, timeout: float | None = None) -> Any:
        value = next(waiting)
        if isinstance(value, BaseException):
            raise value
        return value

    fake.answers["call"] = call


LEADERLESS = (
    OutcomeUnknown("RemoveMember: no answer within 5 s; it may have been carried out"),
    Unavailable(ErrorCode.NO_LEADER, "nobody leads"),
)


@pytest.mark.parametrize("arguments", [["remove", "node2"], ["add", "node2", "10.0.0.2:6380"]])
def test_without_a_leader_it_is_given_up(fake: Any, taskq: Any, arguments: list[str]) -> None:
    alternately(fake, *LEADERLESS)
    failed = taskq("cluster", *arguments)
    assert failed.exit_code == 1
    assert failed.stderr.splitlines() == [
        *(f"node2: {error}" for error in LEADERLESS),
        "Nobody leads, so members cannot be changed: `taskq cluster status` says who is missing.",
    ]
    assert 14 <= len(fake.calls) <= 18, "of two seconds each"


def test_another_reason_is_said_as_it_is(fake: Any, taskq: Any) -> None:
    alternately(fake, Unavailable(ErrorCode.UNAVAILABLE, "the node's disk failed"))
    failed = taskq("cluster", "remove", "node2")
    assert failed.exit_code == 1
    assert "the node's disk failed" in failed.stderr.splitlines()[-1].lower()
    assert "leads" not in failed.stderr


def test_a_cluster_that_cannot_be_reached_is_given_up(fake: Any, taskq: Any) -> None:
    alternately(fake, ConnectionFailed("10.0.0.1:6379: Connection refused"))
    failed = taskq("cluster", "remove", "node2")
    assert failed.exit_code == 3
    assert "Cannot reach the cluster: 10.0.0.1:6379: Connection refused" in failed.stderr


def test_a_leader_that_answers_now_and_then_is_waited_for(fake: Any, taskq: Any) -> None:
    lagging = [MemberChange("node4", "catching up", lag, THREE) for lag in (9000, 8000)]
    answers(
        fake,
        *([LEADERLESS[1]] * 10 + lagging[:1]) * 3,
        MemberChange("node4", "done", None, FOUR),
    )
    assert taskq("cluster", "add", "node4", "10.0.0.4:6380").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "rest"),
    [
        (["add", "node2", "10.0.0.2:6380"], ", `taskq cluster remove node2` ends it."),
        (["remove", "node2"], "."),
    ],
)
def test_ctrl_c_says_what_becomes_of_it(
    fake: Any, taskq: Any, arguments: list[str], rest: str
) -> None:
    alternately(fake, MemberChange("node2", "connecting", None, THREE), KeyboardInterrupt())
    ended = taskq("cluster", *arguments)
    assert ended.exit_code == 130
    assert ended.stderr.splitlines() == [
        "node2: connecting",
        "",
        "The change goes on, if it was begun; the same command shows how far it is" + rest,
    ]


def test_what_is_refused_ends_it(fake: Any, taskq: Any) -> None:
    answers(fake, RequestRefused(ErrorCode.WRONG_STATE, "without node2, 1 of the 2 could be"))
    failed = taskq("cluster", "remove", "node2")
    assert (failed.exit_code, failed.stderr) == (
        1,
        "Without node2, 1 of the 2 could be [WRONG_STATE]\n",
    )


def test_replacing_adds_the_one_and_removes_the_other(fake: Any, taskq: Any) -> None:
    left = [*THREE[1:], FOUR[3]]
    answers(
        fake, MemberChange("node4", "done", None, FOUR), MemberChange("node1", "done", None, left)
    )
    shown = taskq("cluster", "replace", "node1", "node4", "10.0.0.4:6380", "--json")
    assert shown.exit_code == 0, shown.output
    document = check("cluster replace", json.loads(shown.stdout))
    assert [one["node_id"] for one in document["members"]] == ["node2", "node3", "node4"]
    assert asked(fake) == [AddMember("node4", "10.0.0.4:6380"), RemoveMember("node1")]


def test_replacing_a_node_that_is_none_says_what_was_done(fake: Any, taskq: Any) -> None:
    answers(
        fake,
        MemberChange("node4", "done", None, FOUR),
        NotFound(ErrorCode.NOT_FOUND, "node9 is no member"),
    )
    failed = taskq("cluster", "replace", "node9", "node4", "10.0.0.4:6380")
    assert failed.exit_code == 1
    assert failed.stderr == ("node4 is a member now; node9 was none, so nothing was removed.\n")
    assert taskq("cluster", "replace", "node4", "node4", "x:1").exit_code == 2


def test_time_is_over_and_the_same_command_goes_on(fake: Any, taskq: Any) -> None:
    fake.answers["call"] = MemberChange("node4", "catching up", 7, THREE)
    failed = taskq("cluster", "add", "node4", "10.0.0.4:6380", "--timeout", "5s")
    assert failed.exit_code == 1
    assert "Not done after" in failed.stderr
    assert "catching up, 7 entries to go" in failed.stderr
