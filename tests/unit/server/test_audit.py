"""The audit log: a line for each administrative act, whatever became of it, and always on."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import msgpack
import pytest
import structlog

from cluster.config.groups import ApiKey, Monitoring
from cluster.logging import set_up_logging
from cluster.server import audit
from cluster.server.access import Grant
from taskq import commands
from taskq.cluster_commands import AddMember
from taskq.errors import ErrorCode, refuse
from taskq.protocol.codec import Request
from taskq.registry import MESSAGE_OF, MESSAGES
from taskq.results import BatchReply, Done, MemberChange
from tests.unit.protocol.wire_values import sample
from tests.unit.server.rig import Rig, submit, task_id

OPERATOR = Grant(
    frozenset(), None, ApiKey(hash="sha256:" + "ab" * 32, role="admin", name="operators")
)


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as found:
        yield found  # type: ignore[misc]


def noted(lines: list[Any], command: Any, value: Any) -> dict[str, Any]:
    request = Request(1, MESSAGE_OF[type(command)], command, 0, 10)
    audit.note(OPERATOR, "192.0.2.1:5000", request, value)
    return dict(lines[-1])


@pytest.mark.parametrize("code", sorted(audit.CODES))
def test_every_act_can_be_written_down_when_it_is_refused(code: int, lines: list[Any]) -> None:
    row = MESSAGES[code]
    command = row.shape(*[sample(kind) for kind in row.kinds.values()])
    line = noted(lines, command, refuse(ErrorCode.PERMISSION_DENIED, "no"))
    assert (line["event"], line["who"], line["client"]) == (row.name, "operators", "192.0.2.1:5000")
    assert (line["outcome"], line["why"]) == ("PERMISSION_DENIED", "no")
    json.dumps(line)


def test_what_became_of_it_is_said(lines: list[Any]) -> None:
    assert noted(lines, commands.PauseQueue("mail"), Done())["outcome"] == "done"
    gone = noted(lines, commands.PauseQueue("mail"), None)
    assert (gone["queue"], gone["outcome"]) == ("mail", "unknown")
    lost = refuse(ErrorCode.UNAVAILABLE, "its answer was lost")._replace(unknown=True)
    assert noted(lines, commands.PauseQueue("mail"), lost)["outcome"] == "unknown"


def test_a_batch_is_counted_and_its_ids_are_few(lines: list[Any]) -> None:
    ids = [task_id(number) for number in range(1, 101)]
    answers = [[number % 4 > 0, []] for number in range(100)]
    line = noted(lines, commands.DeleteDead(ids), BatchReply(answers))
    assert (line["outcome"], line["done"], line["refused"]) == ("done", 75, 25)
    assert line["task_ids"][0] == str(UUID(int=1))
    assert line["task_ids"][-1] == "and 80 more"


def test_acts_are_noted_once_and_nothing_else_is(lines: list[Any]) -> None:
    peer = Rig().peer()
    peer.ask(submit(1))
    peer.ask(commands.GetStats())
    peer.ask(commands.PauseQueue("q"))
    peer.ask(commands.PurgeQueue("q"))
    peer.ask(commands.DeleteQueue("q"))
    assert [line["event"] for line in lines] == ["PauseQueue", "PurgeQueue", "DeleteQueue"]
    assert [line["queue"] for line in lines] == ["q"] * 3
    assert {line["who"] for line in lines} == {"anyone"}


def test_it_is_on_however_little_is_logged() -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    try:
        set_up_logging(Monitoring(log_level="error"), stream, node_id="node1")
        structlog.get_logger("cluster.server").warning("dropped")
        Rig().peer().ask(commands.PauseQueue("q"))
        (line,) = [json.loads(text) for text in stream.getvalue().splitlines()]
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()
    assert (line["logger"], line["message"], line["node"]) == ("audit", "PauseQueue", "node1")


def test_who_asks_how_far_it_is_leaves_one_line_for_each_stage(lines: list[Any]) -> None:
    command = AddMember("n4", "h4:6380")
    request = Request(1, MESSAGE_OF[AddMember], command, 0, 10)
    last = None
    for stage, lag in (("connecting", None), ("catching up", 9), ("catching up", 4), ("done", 0)):
        told = MemberChange("n4", stage, lag, [])
        for value in (told, msgpack.packb(told)):  # of this node, and of another
            last = audit.note(OPERATOR, "192.0.2.1:5000", request, value, last)
    assert [line["outcome"] for line in lines] == ["connecting", "catching up", "done"]
