"""What others wrote (names, headers, errors, results) cannot steer the terminal it is shown on."""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import re
import sys
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from taskq.cli import output
from taskq.cli.task import write_result
from taskq.cli.worker import log_handler
from taskq.errors import ErrorCode, NotFound, TaskFailed
from taskq.results import TaskState
from tests.unit.cli.busy_cluster import look, workers
from tests.unit.cli.test_tasks import ID, status, view
from tests.unit.cli.test_top import shown

# Sets the clipboard, clears the screen, and the same in 8-bit; it goes back, rubs out, rings.
EVIL = "\x1b]52;c;cm0gLXJmIH4=\x07\x1b[2J\x9b2J\x9d0;title\x9c\x08\r\x00\x7f"
SEEN = r"\x1b]52;c;cm0gLXJmIH4=\x07\x1b[2J\x9b2J\x9d0;title\x9c\x08\x0d\x00\x7f"
STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def evil_status() -> Any:
    attempt = dataclasses.replace(
        status().attempts[0], worker=EVIL, error=f"Traceback\n{EVIL}\nValueError: {EVIL}"
    )
    fields = {"name": EVIL, "headers": {EVIL: EVIL}, "reason": EVIL, "worker": EVIL}
    return status(**fields, attempts=(attempt, attempt))


@pytest.mark.parametrize(
    "arguments",
    [["status", str(ID)], ["dead", "show", str(ID)], ["dead", "list"], ["tasks"], ["workers"]],
    ids=" ".join,
)
@pytest.mark.parametrize("as_json", [False, True])
def test_answers(arguments: list[str], as_json: bool, fake: Any, taskq: Any) -> None:
    fake.answers |= {"status": evil_status(), "dead": [evil_status()], "tasks": [evil_status()]}
    fake.answers["workers"] = [dataclasses.replace(workers()[0], name=EVIL)]
    outcome = taskq(*arguments, *(["--json"] if as_json else []))
    assert outcome.exit_code == 0, outcome.output
    assert not STEERING.search(outcome.stdout)
    if as_json:
        assert EVIL in str_values(json.loads(outcome.stdout))
    else:
        assert SEEN[:12] in outcome.stdout.replace("\n", "")


def str_values(document: Any) -> list[str]:
    if isinstance(document, dict):
        document = list(document.values())
    if isinstance(document, list):
        return [text for one in document for text in str_values(one)]
    return [document] if isinstance(document, str) else []


@pytest.mark.parametrize("debug", ["0", "1"])
def test_errors(debug: str, fake: Any, taskq: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKQ_DEBUG", debug)
    fake.answers["status"] = NotFound(ErrorCode.NOT_FOUND, EVIL)
    fake.answers["result"] = TaskFailed(str(ID), f"two\nlines {EVIL}")
    for arguments in (["status", str(ID)], ["result", str(ID), "--wait", "--timeout", "1s"]):
        outcome = taskq(*arguments)
        assert not STEERING.search(outcome.stderr)
        assert SEEN in outcome.stderr


def test_pictures_of_a_live_view() -> None:
    seen = look(workers=[dataclasses.replace(workers()[0], name=EVIL)])
    text = "\n".join(shown(seen, 200))
    assert not STEERING.search(text)
    assert SEEN in text


def test_a_terminal_gets_no_sequences_but_those_of_styles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is drawn, by whomever: the console is the last to look."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "300")
    output.show(Text(EVIL, style="red"), EVIL, "[link=http://evil]text[/link]")
    assert not STEERING.search(re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue()))
    assert "[link=" in stream.getvalue()
    assert isinstance(output.console(), Console)


@pytest.mark.parametrize(("on_terminal", "expected"), [(True, SEEN + "\n"), (False, EVIL)])
def test_results(on_terminal: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding="utf-8", newline="")
    monkeypatch.setattr(stream, "isatty", lambda: on_terminal)
    monkeypatch.setattr(sys, "stdout", stream)
    write_result(EVIL.encode())
    stream.flush()
    assert written.getvalue() == expected.encode()


def test_a_result_that_is_no_text_is_shown_by_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", stream)
    write_result(b"\xff\x9b2J\n")
    assert stream.getvalue() == r"\xff\x9b2J" + "\n"


@pytest.mark.parametrize("as_json", [False, True])
def test_the_log_of_a_worker(as_json: bool) -> None:
    stream = io.StringIO()
    handler = log_handler(as_json, stream)
    try:
        raise ValueError(EVIL)
    except ValueError:
        record = logging.LogRecord("x", 40, "", 0, "%s", (EVIL,), sys.exc_info())
    handler.handle(record)
    assert not STEERING.search(stream.getvalue())
    if as_json:
        assert json.loads(stream.getvalue())["message"] == EVIL
    else:
        assert stream.getvalue().count(SEEN) == 2


def test_text_in_any_language_stays_as_it_is(fake: Any, taskq: Any) -> None:
    name = "Grüße 任务 🎉\ttab"
    fake.answers |= {"status": status(name=name), "call": view(TaskState.DEAD)}
    assert "Grüße 任务 🎉" in taskq("status", str(ID)).stdout
    assert name in str_values(json.loads(taskq("status", str(ID), "--json").stdout))
    assert "Grüße 任务 🎉" in taskq("status", str(ID), "--json").stdout
