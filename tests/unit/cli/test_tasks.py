"""submit, status, result, cancel, tasks, dead and queues: what is asked, what is shown."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from taskq.client.views import (
    CancelStatus,
    QueueStatus,
    TaskAttempt,
    TaskStatus,
    WorkerStatus,
)
from taskq.errors import ConnectionFailed, NotFound, RequestRefused, TaskCancelled, TaskFailed
from taskq.results import Stats, TaskState, TaskView

ID = UUID("01a1ff6f-bbeb-731f-b19e-83b329d0fd11")
NOW = datetime(2026, 11, 21, 12, 0, 0, 123000, tzinfo=UTC)


def status(**changes: Any) -> TaskStatus:
    attempt = TaskAttempt(
        1, "host-1", NOW, NOW + timedelta(seconds=2), "failed", "Traceback\nValueError: [bold]no"
    )
    fields: dict[str, Any] = {
        "id": ID,
        "state": TaskState.DEAD,
        "queue": "mails",
        "name": "[red]send",
        "priority": 255,
        "headers": {"a": "b"},
        "size": 1536,
        "submitted_at": NOW,
        "due_at": None,
        "started_at": NOW,
        "ended_at": NOW + timedelta(seconds=2),
        "attempt": 1,
        "retries": 0,
        "max_retries": 0,
        "lease_expiries": 0,
        "worker": "ab",
        "token": 7,
        "cancel_requested": False,
        "reason": "retries used up",
        "has_result": False,
        "result": None,
        "attempts": (attempt,),
    }
    return TaskStatus(**(fields | changes))


def view(state: TaskState, result: bytes | None = None) -> TaskView:
    return TaskView(
        ID.bytes, int(state), "q", "", 150, {}, 0, 1, 0, 1, 1, 1, 0, 3, 0, "", 1, False, "",
        result is not None, result, [],
    )  # fmt: skip


def queue(name: str = "mails", **counts: int) -> QueueStatus:
    named = ("ready_high", "ready_normal", "ready_low", "scheduled", "retrying", "leased", "dead")
    return QueueStatus(name, True, 0.0, 30.0, *(counts.get(field, 0) for field in named))


# --- submit ---------------------------------------------------------------------------------------


@pytest.fixture
def submits(fake: Any) -> Any:
    fake.answers["submit"] = SimpleNamespace(id=ID)
    return fake


def test_submit_prints_the_id(submits: Any, taskq: Any) -> None:
    assert taskq("submit", "mails").stdout == f"{ID}\n"
    assert json.loads(taskq("submit", "mails", "--json").stdout) == {"id": str(ID)}


def test_submit_passes_on_what_was_said(submits: Any, taskq: Any) -> None:
    taskq(
        "submit", "mails", "send", "--json-args", '["ann"]', "--priority", "high", "--delay", "5m",
        "--ttl", "1d", "--run-timeout", "30s", "--max-retries", "0", "--header", "trace=a=b",
        "--id", str(ID),
    )  # fmt: skip
    _, args, options = submits.calls[0]
    assert args == ("mails", b'{"args": ["ann"]}')
    assert options == {
        "name": "send",
        "priority": "high",
        "delay": 300.0,
        "run_at": None,
        "ttl": 86400.0,
        "run_timeout": 30.0,
        "max_retries": 0,
        "headers": {"content-type": "application/json", "trace": "a=b"},
        "task_id": ID,
    }


def test_json_object_is_named_arguments(submits: Any, taskq: Any) -> None:
    taskq("submit", "mails", "--json-args", '{"to": "ann"}', "--priority", "17")
    _, args, options = submits.calls[0]
    assert json.loads(args[1]) == {"kwargs": {"to": "ann"}}
    assert options["priority"] == 17


def test_payload_from_standard_input_is_bytes(submits: Any, taskq: Any) -> None:
    taskq("submit", "mails", "--file", "-", stdin="raw")
    _, args, options = submits.calls[0]
    assert args[1] == b"raw"
    assert options["headers"] == {"content-type": "application/octet-stream"}


def test_run_at_takes_a_time_zone(submits: Any, taskq: Any) -> None:
    taskq("submit", "mails", "--run-at", "2027-01-31T08:00:00+01:00")
    assert submits.calls[0][2]["run_at"] == datetime(2027, 1, 31, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--json-args", "{"], "--json-args: not JSON"),
        (["--json-args", "1"], "--json-args: must be a list"),
        (["--json-args", "[]", "--file", "-"], "use one of them"),
        (["--priority", "256"], "--priority: high, normal, low or 0 to 255"),
        (["--priority", "urgent"], "--priority: high, normal, low or 0 to 255"),
        (["--delay", "soon"], "'soon' is no duration"),
        (["--run-at", "2027-01-31T08:00:00"], "has no time zone"),
        (["--run-at", "tomorrow"], "--run-at: Invalid isoformat"),
        (["--header", "x"], "'x' is not name=value"),
        (["--id", "x"], "'x' is not a valid UUID"),
        (["--timeout", "5s"], "--timeout is for --wait"),
    ],
)
def test_wrong_submit_names_the_option(
    arguments: list[str], text: str, submits: Any, taskq: Any
) -> None:
    outcome = taskq("submit", "mails", *arguments)
    assert outcome.exit_code == 2
    assert text in outcome.stderr
    assert submits.calls == []


def test_submit_and_wait_writes_the_result(submits: Any, taskq: Any) -> None:
    submits.answers["result"] = b"\xff\x00"
    outcome = taskq("submit", "mails", "--wait", "--timeout", "3s")
    assert outcome.stdout_bytes == b"\xff\x00"
    assert submits.calls[-1] == ("result", (ID,), {"timeout": 3.0})


# --- one task -------------------------------------------------------------------------------------


def test_status_for_people_shows_markup_as_text(fake: Any, taskq: Any) -> None:
    fake.answers["status"] = status()
    shown = taskq("status", str(ID)).stdout
    for text in ("dead", "[red]send", "255 (high)", "1.5 KiB", "retries used up", "a=b",
                 "ValueError: [bold]no", "2 s", "host-1"):  # fmt: skip
        assert text in shown


def test_status_for_programs(fake: Any, taskq: Any) -> None:
    fake.answers["status"] = status()
    document = json.loads(taskq("status", str(ID), "--json").stdout)
    assert document["id"] == str(ID)
    assert document["state"] == "dead"
    assert document["submitted_at"] == "2026-11-21T12:00:00.123Z"
    assert document["attempts"][0]["outcome"] == "failed"


def test_result_of_a_task_that_has_not_ended_is_5(fake: Any, taskq: Any) -> None:
    fake.answers["call"] = view(TaskState.LEASED)
    outcome = taskq("result", str(ID))
    assert (outcome.exit_code, outcome.stdout) == (5, "")
    assert "it is leased; --wait waits for it" in outcome.stderr


def test_result_is_written_as_it_is(fake: Any, taskq: Any) -> None:
    fake.answers["call"] = view(TaskState.COMPLETED, b"\xfe\n")
    assert taskq("result", str(ID)).stdout_bytes == b"\xfe\n"
    document = json.loads(taskq("result", str(ID), "--json").stdout)
    assert document == {
        "id": str(ID), "state": "completed", "result": None, "result_base64": "/go=",
    }  # fmt: skip


def test_waiting_too_short_is_5(fake: Any, taskq: Any) -> None:
    fake.answers["result"] = TimeoutError("x")
    outcome = taskq("result", str(ID), "--timeout", "2s")
    assert outcome.exit_code == 5
    assert f"Task {ID} has not ended within 2 s." in outcome.stderr


def test_result_of_a_cancelled_task_is_1(fake: Any, taskq: Any) -> None:
    fake.answers |= {"ping": 0.1, "result": TaskCancelled(str(ID), "cancelled while running")}
    outcome = taskq("result", str(ID), "--wait")
    assert (outcome.exit_code, outcome.stdout) == (1, "")
    assert outcome.stderr == "cancelled while running\n"


def test_to_wait_without_end_somebody_must_be_there(fake: Any, taskq: Any) -> None:
    fake.answers["ping"] = ConnectionFailed("nobody there")
    assert taskq("result", str(ID), "--wait").exit_code == 3
    assert [name for name, *_ in fake.calls] == ["ping"]


@pytest.mark.parametrize(
    ("error", "code"),
    [(TimeoutError("x"), 5), (TaskFailed(str(ID), "no"), 1), (ConnectionFailed("gone"), 3)],
)
def test_an_error_names_the_task_that_it_is_about(
    error: Exception, code: int, submits: Any, taskq: Any
) -> None:
    submits.answers["result"] = error
    for arguments in (["submit", "mails", "--wait"], ["result", str(ID)]):
        outcome = taskq(*arguments, "--timeout", "1s", "--json")
        document = json.loads(outcome.stdout)["error"]
        assert (document["id"], document["exit"], outcome.exit_code) == (str(ID), code, code)
    waited = taskq("submit", "mails", "--wait")
    assert waited.stderr.startswith(f"Task {ID}: waiting for it to end.\n")


def test_cancel_says_what_follows(fake: Any, taskq: Any) -> None:
    fake.answers["cancel"] = CancelStatus(TaskState.LEASED, True)
    outcome = taskq("cancel", str(ID), "--force")
    assert outcome.stdout == f"{ID} leased; its worker was asked to stop\n"
    assert fake.calls == [("cancel", (ID,), {"force": True})]


def test_cancel_of_several_goes_on_after_a_refusal(fake: Any, taskq: Any) -> None:
    other = UUID(int=5)

    def cancel(task_id: UUID, force: bool) -> CancelStatus:
        if task_id == ID:
            raise NotFound("NOT_FOUND", "there is no such task")
        return CancelStatus(TaskState.CANCELLED, False)

    fake.answers["cancel"] = cancel
    outcome = taskq("cancel", str(ID), str(other), "--json")
    assert outcome.exit_code == 1
    assert json.loads(outcome.stdout) == {
        "tasks": [{"id": str(other), "state": "cancelled", "requested": False}],
        "errors": {str(ID): "there is no such task [NOT_FOUND]"},
    }


# --- lists ----------------------------------------------------------------------------------------


def test_tasks_says_when_there_are_more(fake: Any, taskq: Any) -> None:
    fake.answers["tasks"] = [status(), status(), status()]
    outcome = taskq("tasks", "--limit", "2", "--state", "dead", "--queue", "mails")
    assert outcome.stdout.count(str(ID)) == 2
    assert "There are more" in outcome.stderr
    assert fake.calls == [("tasks", (), {"queue": "mails", "state": "dead", "limit": 3})]
    document = json.loads(taskq("tasks", "--limit", "2", "--json").stdout)
    assert (len(document["tasks"]), document["more"]) == (2, True)


def test_dead_tasks_are_shown_with_the_last_line_of_their_error(fake: Any, taskq: Any) -> None:
    fake.answers["dead"] = [status()]
    shown = taskq("dead", "list").stdout
    assert "ValueError: [bold]no" in shown
    assert "Traceback" not in shown


def test_redrive_of_a_whole_queue(fake: Any, taskq: Any) -> None:
    fake.answers |= {"dead": [status(), status(id=UUID(int=5))]}
    fake.answers["redrive"] = [None, NotFound("NOT_FOUND", "gone")]
    outcome = taskq("dead", "redrive", "--queue", "mails")
    assert outcome.exit_code == 1
    assert outcome.stdout == "1 task redriven.\n"
    assert f"{UUID(int=5)}: gone" in outcome.stderr


@pytest.mark.parametrize("arguments", [[], [str(ID), "--all"], ["--all", "--queue", "x"]])
def test_redrive_needs_exactly_one_choice(arguments: list[str], fake: Any, taskq: Any) -> None:
    outcome = taskq("dead", "redrive", *arguments)
    assert outcome.exit_code == 2
    assert "by their ids, or by --queue NAME, or by --all" in outcome.stderr


def test_delete_asks_first(fake: Any, taskq: Any) -> None:
    fake.answers |= {"dead": [status()], "delete_dead": [None]}
    outcome = taskq("dead", "delete", "--all", stdin="y\n")  # not a terminal: nobody is there
    assert outcome.exit_code == 1
    assert "--yes deletes without asking" in outcome.stderr
    assert [name for name, *_ in fake.calls] == ["dead"]
    assert taskq("dead", "delete", "--all", "--yes").stdout == "1 task deleted.\n"


def test_queues_are_shown_by_tier(fake: Any, taskq: Any) -> None:
    fake.answers["queues"] = [queue(ready_high=1234, dead=7)]
    shown = taskq("queues", "list").stdout
    assert "1,234" in shown
    assert "paused" in shown


def test_purge_asks_first(fake: Any, taskq: Any) -> None:
    fake.answers |= {"queues": [queue(ready_low=2, scheduled=1)], "purge_queue": 3}
    outcome = taskq("queues", "purge", "mails")
    assert outcome.exit_code == 1
    assert "--yes purges without asking" in outcome.stderr
    assert [name for name, *_ in fake.calls] == ["queues"]
    assert taskq("queues", "purge", "mails", "--yes").stdout == (
        "Queue mails purged, 3 tasks cancelled.\n"
    )


def test_queues_are_deleted_one_after_the_other(fake: Any, taskq: Any) -> None:
    full = RequestRefused("WRONG_STATE", "queue b is not empty: 1 dead")
    fake.answers["delete_queue"] = lambda name: (_ for _ in ()).throw(full) if name == "b" else None
    assert taskq("queues", "delete", "a").stdout == "Queue a deleted.\n"
    outcome = taskq("queues", "delete", "a", "b", "c")
    assert outcome.exit_code == 1
    assert outcome.stdout == "Queue a deleted.\nQueue c deleted.\n"
    assert outcome.stderr == "Queue b is not empty: 1 dead [WRONG_STATE]\n"
    told = json.loads(taskq("queues", "delete", "b", "c", "--json").stdout)
    assert told == {"deleted": ["c"], "errors": {"b": str(full)}}
    assert taskq("queues", "delete", "b").exit_code == 1


def test_create_pause_resume(fake: Any, taskq: Any) -> None:
    fake.answers |= {"create_queue": None, "pause_queue": None, "resume_queue": None}
    taskq("queues", "create", "mails", "--ageing", "1m", "--lease", "10s")
    assert taskq("queues", "pause", "mails").stdout == "Queue mails paused.\n"
    resumed = taskq("queues", "resume", "mails", "--json").stdout
    assert json.loads(resumed) == {"queue": "mails", "done": "resumed"}
    assert fake.calls[0] == ("create_queue", ("mails",), {"ageing": 60.0, "lease": 10.0})


def test_stats(fake: Any, taskq: Any) -> None:
    stats = Stats(
        {"ready": 5}, {"submitted": 12345}, [1] * 17, 100, 2048, 0, 0, 1, 0, 61_000, 1, "n1", "n1",
        3, 99,
    )  # fmt: skip
    fake.answers |= {"stats": stats, "queues": [queue()], "workers": []}
    shown = taskq("stats").stdout
    for text in ("12,345", "2.0 KiB", "1 min 1 s", "mails", "term 3"):
        assert text in shown
    document = json.loads(taskq("stats", "--json").stdout)
    assert document["states"] == {"ready": 5}
    assert document["queues"][0]["name"] == "mails"
    assert document["durations"][0] == {"up_to_secs": 0.005, "count": 1}
    assert document["durations"][-1] == {"up_to_secs": None, "count": 1}


# --- workers and single dead tasks ----------------------------------------------------------------


def worker(name: str, leased: int, memory_size: int = 0) -> WorkerStatus:
    return WorkerStatus("ab" * 16, name, 4, 1.25, leased, 50.0, memory_size, NOW)


def test_workers_are_listed_the_busiest_first(fake: Any, taskq: Any) -> None:
    fake.answers["workers"] = [worker("idle", 0), worker("[busy]", 3, 2048)]
    lines = taskq("workers").stdout.splitlines()
    busy, idle = (
        next(n for n, line in enumerate(lines) if name in line) for name in ("[busy]", "idle")
    )
    assert busy < idle
    assert lines[busy].split()[1:9] == ["ab" * 16, "4", "3", "50", "%", "2.0", "KiB", "1.2"]
    assert "%" not in lines[idle]
    document = json.loads(taskq("workers", "--json").stdout)
    assert [one["name"] for one in document["workers"]] == ["[busy]", "idle"]
    assert document["workers"][0]["registered_at"] == "2026-11-21T12:00:00.123Z"


def test_no_workers_says_how_to_start_one(fake: Any, taskq: Any) -> None:
    fake.answers["workers"] = []
    outcome = taskq("workers")
    assert (outcome.exit_code, outcome.stdout) == (0, "")
    assert "taskq worker MODULE:FUNCTION" in outcome.stderr


def test_a_dead_task_is_shown_with_the_error_of_each_attempt(fake: Any, taskq: Any) -> None:
    errors = ("Traceback\nOSError: first", "short", "Traceback\nValueError: last")
    attempts = tuple(TaskAttempt(n, "w", NOW, NOW, "failed", e) for n, e in enumerate(errors, 1))
    fake.answers["status"] = status(attempts=attempts)
    shown = taskq("dead", "show", str(ID)).stdout
    assert shown.index("Last error") < shown.index("Error of attempt 1")
    assert "Error of attempt 2" not in shown  # its one line stands in the table
    for text in ("retries used up", "Traceback\nValueError: last", "Traceback\nOSError: first"):
        assert text in shown
    assert json.loads(taskq("dead", "show", str(ID), "--json").stdout)["state"] == "dead"


def test_a_task_that_is_not_dead_is_not_shown_as_such(fake: Any, taskq: Any) -> None:
    fake.answers["status"] = status(state=TaskState.LEASED)
    outcome = taskq("dead", "show", str(ID))
    assert (outcome.exit_code, outcome.stdout) == (1, "")
    assert f"Task {ID} is not dead, it is leased; taskq status {ID}" in outcome.stderr
