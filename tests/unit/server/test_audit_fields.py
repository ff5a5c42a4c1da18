"""Every administrative message can be told of, whatever its fields are called."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from chaos.attack.samples import request
from cluster.server import audit
from cluster.server.access import Grant
from taskq.errors import ErrorCode, refuse
from taskq.protocol.codec import Request
from taskq.registry import MESSAGES


@pytest.mark.parametrize("code", sorted(audit.CODES), ids=lambda code: MESSAGES[code].name)
def test_every_message_has_its_line(code: int) -> None:
    row = MESSAGES[code]
    asked = Request(1, row, request(row), 0, 10)
    for value in (None, refuse(ErrorCode.PERMISSION_DENIED, "needs the role admin")):
        with capture_logs() as lines:
            audit.note(Grant(frozenset()), "127.0.0.1:5", asked, value)
        if lines:
            (line,) = lines
            assert (line["event"], line["who"], line["client"]) == (
                row.name,
                "anyone",
                "127.0.0.1:5",
            )
            assert line["why"]
