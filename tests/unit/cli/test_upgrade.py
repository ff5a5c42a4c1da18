"""`taskq cluster upgrade`, and what status says of versions and levels."""

from __future__ import annotations

import json
from typing import Any

import pytest

from taskq.cli.upgrade import level_text
from taskq.commands import GetCluster, UpgradeCluster
from taskq.errors import ErrorCode, RequestRefused
from taskq.results import ClusterStatus, MemberRole, MemberView, Upgraded

OLD, NEW, SILENT = ("0.1.0", 1, 1), ("0.2.0", 1, 2), ("", None, None)


def status(*builds: Any, level: int = 1, possible: int = 0) -> ClusterStatus:
    members = [
        MemberView(f"node{n}", "", MemberRole.FOLLOWER.value, *[None] * 6, "", *build)
        for n, build in enumerate(builds, 1)
    ]
    return ClusterStatus("node1", "node1", 5, 9, 9, "c0ffee", 0, members, level, possible)


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (status(OLD, OLD, possible=1), "1"),
        (status(NEW, OLD, NEW, possible=1), "1; node2 cannot run 2 yet"),
        (status(NEW, NEW, possible=2), "1; all members can 2: taskq cluster upgrade"),
        (status(NEW, SILENT, SILENT), "1 (node2 and node3 not heard from)"),
        (status(NEW, NEW, level=2, possible=2), "2"),
    ],
)
def test_status_says_what_may_be_done(shown: ClusterStatus, text: str) -> None:
    assert level_text(shown, shown.members) == text


def serve(fake: Any, shown: ClusterStatus, answer: Any) -> list[Any]:
    sent: list[Any] = []

    def call(command: Any, timeout: float | None = None) -> Any:
        sent.append(command)
        if isinstance(command, GetCluster):
            return shown
        if isinstance(answer, Exception):
            raise answer
        return answer

    fake.answers["call"] = call
    return sent


def test_the_level_is_raised(fake: Any, taskq: Any) -> None:
    sent = serve(fake, status(NEW, NEW, possible=2), Upgraded(1, 2))
    done = taskq("cluster", "upgrade", "--yes")
    assert done.stdout == "The cluster is at feature level 2 now (it was 1).\n"
    assert json.loads(taskq("cluster", "upgrade", "--level", "2", "--yes", "--json").stdout) == {
        "before": 1,
        "level": 2,
    }
    assert [one for one in sent if type(one) is UpgradeCluster] == [
        UpgradeCluster(0),
        UpgradeCluster(2),
    ]


def test_it_asks_before_what_cannot_be_undone(fake: Any, taskq: Any) -> None:
    sent = serve(fake, status(NEW, NEW, possible=2), Upgraded(1, 2))
    failed = taskq("cluster", "upgrade")
    assert failed.exit_code == 1
    assert "Nothing was changed; --yes raises it without asking." in failed.stderr
    assert [type(one) for one in sent] == [GetCluster]


def test_where_nothing_is_to_do_it_asks_nothing(fake: Any, taskq: Any) -> None:
    serve(fake, status(OLD, OLD, possible=1), Upgraded(1, 1))
    done = taskq("cluster", "upgrade")
    assert (done.exit_code, done.stdout) == (
        0,
        "The cluster is at feature level 1; nothing to do.\n",
    )


def test_a_refusal_is_said(fake: Any, taskq: Any) -> None:
    why = "the feature level stays at 1: node3 cannot be asked now"
    serve(fake, status(NEW, SILENT), RequestRefused(ErrorCode.WRONG_STATE, why))
    failed = taskq("cluster", "upgrade", "--yes")
    assert failed.exit_code == 1
    assert why[1:] in failed.stderr
