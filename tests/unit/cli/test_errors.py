"""How errors end a command: exit code, one sentence, and a document for programs."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from taskq.cli import exits
from taskq.cli.exits import exit_code_of
from taskq.cli.main import run
from taskq.cli.process import BROKER_MODULES
from taskq.errors import (
    ConnectionFailed,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    ProtocolError,
    QueueFull,
    TaskFailed,
)
from taskq.worker.heartbeats import WorkerLost

CASES = [
    (ConnectionFailed("no node answered"), 3, "Cannot reach the cluster: no node answered. Is it"),
    (ProtocolError("not msgpack"), 3, "Not msgpack."),
    (WorkerLost("no contact"), 3, "No contact."),
    (OutcomeUnknown("no answer within 5 s"), 4, "No answer within 5 s."),
    (TimeoutError("still running"), 5, "Still running."),
    (NotFound("NOT_FOUND", "there is no task"), 1, "There is no task [NOT_FOUND]"),
    (QueueFull("QUEUE_FULL", "full", 1.5), 1, "Full [QUEUE_FULL]"),
    (
        PermissionDenied("UNAUTHENTICATED", "wrong key"),
        1,
        "Not allowed: wrong key [UNAUTHENTICATED]. The key is in TASKQ_API_KEY, or in the url",
    ),
    (
        PermissionDenied("PERMISSION_DENIED", "PauseQueue needs the role admin"),
        1,
        "Not allowed: PauseQueue needs the role admin [PERMISSION_DENIED].",
    ),
    (TaskFailed("id", "Traceback ...\nValueError: x"), 1, "Traceback ...\nValueError: x"),
    (ValueError("run_at: no time zone"), 1, "Run_at: no time zone."),
    (PermissionError(13, "Permission denied", "/x"), 1, "/x: Permission denied."),
    (OSError(28, "No space left on device"), 1, "No space left on device."),
    (KeyError("x"), 1, "Unexpected KeyError: 'x'. TASKQ_DEBUG=1 shows where."),
]


@pytest.mark.parametrize(("error", "code", "text"), CASES, ids=lambda v: type(v).__name__)
def test_error_is_one_sentence_and_an_exit_code(
    error: Exception, code: int, text: str, fake: Any, taskq: Any
) -> None:
    fake.answers["stats"] = error
    outcome = taskq("stats")
    assert outcome.exit_code == code
    assert outcome.stderr.startswith(text)
    assert outcome.stdout == ""
    assert 'File "' not in outcome.stderr


@pytest.mark.parametrize(("error", "code", "text"), CASES, ids=lambda v: type(v).__name__)
def test_error_as_a_document(error: Exception, code: int, text: str, fake: Any, taskq: Any) -> None:
    fake.answers["stats"] = error
    outcome = taskq("stats", "--json")
    document = json.loads(outcome.stdout)["error"]
    assert document["kind"] == type(error).__name__
    assert document["message"].startswith(text)
    assert document["exit"] == outcome.exit_code == code
    if isinstance(error, QueueFull):
        assert (document["code"], document["retry_after"]) == ("QUEUE_FULL", 1.5)


def test_traceback_only_when_asked_for(
    fake: Any, taskq: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.answers["stats"] = KeyError("x")
    monkeypatch.setenv("TASKQ_DEBUG", "1")
    assert "Traceback (most recent call last)" in taskq("stats").stderr


def test_ctrl_c_is_130(fake: Any, taskq: Any) -> None:
    fake.answers["stats"] = KeyboardInterrupt()
    assert taskq("stats").exit_code == exits.INTERRUPTED == exit_code_of(KeyboardInterrupt())


def test_wrong_url_is_a_mistake_on_the_command_line(fake: Any, taskq: Any) -> None:
    outcome = taskq("stats", "--url", "http://x")
    assert outcome.exit_code == 2
    assert "--url / TASKQ_URL: url: must start with taskq://" in outcome.stderr


@pytest.mark.parametrize(
    "arguments",
    [["stats", "--url", "http://x"], ["tasks", "--state", "x"], ["result"], ["nothing"]],
)
def test_a_wrong_command_line_is_a_document_as_well(
    arguments: list[str], fake: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*arguments, "--json"]) == exits.USAGE
    told = capsys.readouterr()
    document = json.loads(told.out)["error"]
    assert (document["kind"], document["exit"]) == ("UsageError", 2)
    assert document["message"] in told.err
    assert run(arguments) == exits.USAGE
    assert capsys.readouterr().out == ""


def test_url_comes_from_option_or_environment(
    fake: Any, taskq: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.answers["queues"] = []
    taskq("queues", "list")
    monkeypatch.setenv("TASKQ_URL", "taskq://a")
    taskq("queues", "list")
    taskq("queues", "list", "--url", "taskq://b", "--request-timeout", "2m")
    assert fake.made == [(None, 5.0), ("taskq://a", 5.0), ("taskq://b", 120.0)]


def test_unknown_command_names_the_nearest(taskq: Any) -> None:
    outcome = taskq("stat")
    assert outcome.exit_code == 2
    assert "Did you mean 'stats'?" in outcome.stderr


def test_help_documents_commands_and_exit_codes(taskq: Any) -> None:
    text = taskq("--help").stdout
    for word in ("demo", "submit", "redrive", "130", "Ctrl-C", "TASKQ_URL", "unknown: the request"):
        assert word in text


def test_every_command_has_a_help_page(taskq: Any) -> None:
    from taskq.cli.main import SECTIONS

    for name in (name for section in SECTIONS.values() for name in section):
        if name != "broker":  # that of tq-broker
            outcome = taskq(name, "--help")
            assert outcome.exit_code == 0, outcome.stderr
            assert outcome.stdout.startswith(f"Usage: taskq {name}")


@pytest.mark.parametrize("command", ["up", "broker", "config", "repair x", "demo"])
def test_without_the_broker_it_says_what_to_install(
    command: str, taskq: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskq.cli.process.importlib.util.find_spec", lambda _: None)
    outcome = taskq(*command.split())
    assert outcome.exit_code == 1
    assert "pip install 'taskq-cluster[broker]'" in outcome.stderr


def test_version_names_package_protocol_and_storage(taskq: Any) -> None:
    lines = taskq("--version").stdout.splitlines()
    assert [line.rpartition(" ")[0] for line in lines] == [
        "taskq-cluster",
        "protocol",
        "feature level",
        "storage format",
    ]


def test_what_is_looked_for_is_what_the_extra_installs() -> None:
    pyproject = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    extra = pyproject["project"]["optional-dependencies"]["broker"]
    installed = {re.split(r"[^a-z0-9-]", requirement)[0] for requirement in extra}
    assert set(BROKER_MODULES) <= installed


def test_exit_codes_are_documented_as_they_are() -> None:
    page = (Path(__file__).parents[3] / "docs" / "command-line.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", page, re.M)
    assert [(int(code), about) for code, about in rows] == list(exits.ABOUT)


def test_a_key_that_is_none_is_told_of_its_variable(taskq: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("TASKQ_API_KEY", "@/nowhere/key")
    outcome = taskq("stats")
    assert outcome.exit_code == 2
    assert "Invalid value for TASKQ_API_KEY" in outcome.stderr


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"TASKQ_API_KEY": "@/nowhere/key"}, "TASKQ_API_KEY: the file /nowhere/key cannot be"),
        ({"TASKQ_API_KEY": "two words"}, "TASKQ_API_KEY: TASKQ_API_KEY holds no key but several"),
        ({"TASKQ_CA_FILE": "nofile"}, "TASKQ_CA_FILE: nofile: No such file or directory"),
        ({"TASKQ_KEY_FILE": "nofile"}, "TASKQ_KEY_FILE: needs TASKQ_CERT_FILE beside it"),
        (
            {"TASKQ_CERT_FILE": __file__, "TASKQ_KEY_FILE": __file__},
            f"TASKQ_CERT_FILE, TASKQ_KEY_FILE: {__file__} and {__file__} are no certificate",
        ),
    ],
)
def test_a_variable_that_is_wrong_is_named_and_not_the_url(
    taskq: Any, monkeypatch: Any, variables: dict[str, str], words: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    failed = taskq("stats", "--url", "taskqs://127.0.0.1:1")
    assert failed.exit_code == 2
    assert f"Invalid value for {words}" in failed.stderr
    assert "--url" not in failed.stderr


def test_a_file_that_the_url_names_is_its_mistake(taskq: Any) -> None:
    failed = taskq("stats", "--url", "taskqs://127.0.0.1:1?ca_file=nofile")
    assert "Invalid value for --url / TASKQ_URL: ca_file: nofile: No such" in failed.stderr
