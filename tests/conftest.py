"""Rules for all tests. Unit tests must not reach outside: they fail if they try."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

UNIT = Path(__file__).parent / "unit"

# CI draws the same examples every time, so that a red build is about the change; people draw new
# ones. No deadline: a shared machine stalls for longer than any example takes.
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("here"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")

# In the background of a shell SIGINT is ignored, which programs under test would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)


def _refuse(what: str) -> Callable[..., Any]:
    def refused(*_args: Any, **_kwargs: Any) -> Any:
        pytest.fail(f"A unit test must not {what}; such a test belongs in tests/integration.")

    return refused


@pytest.fixture(autouse=True)
def _pure(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if UNIT in request.node.path.parents:
        for verb in ("connect", "bind", "listen"):
            monkeypatch.setattr(socket.socket, verb, _refuse("use sockets"))
        monkeypatch.setattr(time, "sleep", _refuse("sleep"))
        monkeypatch.setattr(threading.Thread, "start", _refuse("start threads"))
