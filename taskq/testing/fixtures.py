"""Fixtures for pytest. In `conftest.py`:

    pytest_plugins = ["taskq.testing.fixtures"]

They are asked for by this line rather than offered to every session by an entry point: pytest would
then import taskq at the start of each run of each project that has it installed, used or not, and
before the measuring of coverage begins.
"""

from __future__ import annotations

from collections.abc import Iterator

from taskq.testing.broker import Broker

try:
    import pytest
except ImportError as error:
    raise ImportError("taskq.testing.fixtures needs pytest: pip install pytest") from error


@pytest.fixture
def taskq_broker() -> Iterator[Broker]:
    """A new broker in memory, closed at the end of the test."""
    with Broker() as broker:
        yield broker


@pytest.fixture
def taskq_url(taskq_broker: Broker, monkeypatch: pytest.MonkeyPatch) -> str:
    """The url of `taskq_broker` for code that makes its own client: `TASKQ_URL` names it during the
    test, too."""
    monkeypatch.setenv("TASKQ_URL", taskq_broker.url)
    return taskq_broker.url
