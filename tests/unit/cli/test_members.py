"""`taskq cluster add`, `remove`, `replace`: asked again until done, progress on standard error."""

from __future__ import annotations

import json
from typing import Any

import pytest

from taskq.cli import members
from taskq.commands import AddMember, RemoveMember
from taskq.errors import ErrorCode, NotFound, RequestRefused, Unavailable
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
