"""A client that answers from a table, in place of the real one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import pytest
from click.testing import CliRunner, Result

from taskq.cli import command
from taskq.cli.main import cli


class FakeClient:
    """`answers`: method name -> value, exception, or function of the arguments."""

    answers: dict[str, Any]
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]]
    made: list[tuple[Any, ...]]

    def __init__(self, url: str | None, timeout: float, name: str) -> None:
        if url is not None and not url.startswith("taskq"):
            raise ValueError("url: must start with taskq:// or taskqs://")
        self.made.append((url, timeout))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def method(*args: Any, **kwargs: Any) -> Any:
            self.calls.append((name, args, kwargs))
            answer = self.answers[name]
            if isinstance(answer, BaseException):
                raise answer
            return answer(*args, **kwargs) if callable(answer) else answer

        return method


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeClient]:
    kind = type("Fake", (FakeClient,), {"answers": {}, "calls": [], "made": []})
    monkeypatch.setattr(command, "Client", kind)
    return kind


@pytest.fixture
def taskq(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the command line; standard output and error apart."""
    for variable in ("TASKQ_URL", "TASKQ_API_KEY", "TASKQ_DEBUG"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(cli, list(arguments), input=stdin, prog_name="taskq")

    return run
