"""What `taskq up` and `taskq worker` tell with `--json`: one document a line."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from taskq.cli.events import Events
from taskq.cli.worker import JsonLines


def test_events_are_sentences_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    events = Events(as_json=False)
    events.answer("ready", "Here it is.", url="taskq://x")
    events.aside("leader", "n1 leads now.", leader="n1")
    told = capsys.readouterr()
    assert (told.out, told.err) == ("Here it is.\n", "n1 leads now.\n")


def test_events_are_lines_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    events = Events(as_json=True)
    events.answer("ready", "Here\nit is.", url="taskq://x")
    events.aside("node", "n1 ended. Its log ends with:\n    a\n    b", node="n1")
    told = capsys.readouterr()
    assert [json.loads(line) for line in told.out.splitlines()] == [
        {"event": "ready", "url": "taskq://x"},
        {"event": "node", "message": "n1 ended. Its log ends with:\n    a\n    b", "node": "n1"},
    ]
    assert told.err == ""


def test_a_record_of_the_log_is_one_line_with_its_traceback() -> None:
    record = logging.LogRecord("x", logging.WARNING, "f", 1, "lost %s", ("a\nb",), None)
    record.created = 1_700_000_000.25
    assert json.loads(JsonLines().format(record)) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "warning",
        "message": "lost a\nb",
    }
    try:
        raise ValueError("no luck")
    except ValueError:
        record.exc_info = sys.exc_info()
    line = JsonLines().format(record)
    assert "\n" not in line
    assert json.loads(line)["error"].endswith("ValueError: no luck")
