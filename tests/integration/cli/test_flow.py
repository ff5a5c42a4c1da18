"""Submit, work, look, cancel: every command against a real node."""

from __future__ import annotations

import json
import signal
import uuid
from typing import Any

import pytest

WORK = """
import time

def add(a, b=0):
    return a + b

def fail(text):
    raise ValueError(text)

def sleep(secs):
    time.sleep(secs)
"""


@pytest.fixture
def work(shell: Any, url: str) -> Any:
    """A shell with the url of the node, a module of functions, and a trap for wrong imports."""
    shell.environment["TASKQ_URL"] = url
    (shell.folder / "work.py").write_text(WORK)
    for name in ("cluster.py", "taskq.py", "queue.py"):
        (shell.folder / name).write_text("raise ImportError('a module of the user was imported')")
    return shell


@pytest.fixture
def queue() -> str:
    return f"q-{uuid.uuid4().hex[:8]}"


def start_worker(work: Any, function: str, queue: str, *options: str) -> Any:
    worker = work.start("worker", f"work:{function}", "--queue", queue, *options)
    line = worker.stderr.readline()
    assert queue in line, line + worker.stderr.read()
    return worker


def test_task_runs_and_its_result_comes_back(work: Any, queue: str) -> None:
    worker = start_worker(work, "add", queue, "--concurrency", "2")
    arguments = ["--json-args", '{"a": 1, "b": 41}']
    assert work.run("submit", queue, *arguments, "--wait").stdout == "42"
    task_id = work.run("submit", queue, "add", *arguments).stdout.strip()
    assert work.json("result", task_id, "--wait")["result"] == "42"
    status = work.json("status", task_id)
    assert (status["state"], status["name"], status["attempt"]) == ("completed", "add", 1)
    assert "completed" in work.run("status", task_id).stdout
    worker.send_signal(signal.SIGTERM)
    _, log = worker.communicate(timeout=20)
    assert worker.returncode == 0
    assert "2 completed, 0 failed" in log


def test_failure_is_told_with_its_traceback(work: Any, queue: str) -> None:
    start_worker(work, "fail", queue, "--concurrency", "1")
    arguments = ["--json-args", '["no luck"]', "--max-retries", "0", "--wait"]
    failed = work.run("submit", queue, *arguments, code=1)
    assert failed.stdout == ""
    assert failed.stderr.rstrip().endswith("ValueError: no luck")
    assert 'work.py", line' in failed.stderr
    dead = work.json("dead", "list", "--queue", queue)["tasks"]
    assert [task["state"] for task in dead] == ["dead"]
    assert "no luck" in work.run("dead", "list", "--queue", queue).stdout
    assert work.run("dead", "delete", dead[0]["id"], "--yes").stdout == "1 task deleted.\n"
    assert work.json("dead", "list", "--queue", queue)["tasks"] == []


def test_running_task_is_cancelled_at_its_worker(work: Any, queue: str, until: Any) -> None:
    start_worker(work, "sleep", queue, "--concurrency", "1", "--cancel-grace", "200ms")
    task_id = work.run("submit", queue, "--json-args", "[100]").stdout.strip()
    until(lambda: work.json("status", task_id)["state"] == "leased")
    waiting = work.run("result", task_id, code=5)
    assert "has not ended" in waiting.stderr
    assert "was asked to stop" in work.run("cancel", task_id).stdout
    ended = work.run("result", task_id, "--wait", "--timeout", "20s", code=1)
    assert "cancelled" in ended.stderr


def test_waiting_tasks_are_cancelled_and_purged(work: Any, queue: str) -> None:
    first, second, third = (
        work.run("submit", queue, *more).stdout.strip()
        for more in ([], ["--delay", "1h"], ["--priority", "high"])
    )
    assert work.run("cancel", first).stdout == f"{first} cancelled\n"
    shown = next(q for q in work.json("queues", "list")["queues"] if q["name"] == queue)
    assert (shown["ready_high"], shown["scheduled"]) == (1, 1)
    purged = work.json("queues", "purge", queue, "--yes")
    assert purged == {"queue": queue, "done": "purged", "count": 2}
    for task_id in (second, third):
        assert work.json("status", task_id)["state"] == "cancelled"
    listed = work.json("tasks", "--queue", queue, "--state", "cancelled")
    assert {task["id"] for task in listed["tasks"]} == {first, second, third}


def test_paused_queue_gives_nothing_out(work: Any, queue: str) -> None:
    start_worker(work, "add", queue, "--concurrency", "1")
    work.run("queues", "create", queue, "--lease", "20s")
    work.run("queues", "pause", queue)
    task_id = work.run("submit", queue, "--json-args", "[1]").stdout.strip()
    work.run("result", task_id, "--timeout", "0.5s", code=5)
    work.run("queues", "resume", queue)
    assert work.run("result", task_id, "--wait").stdout == "1"


def test_same_id_makes_one_task(work: Any, queue: str) -> None:
    task_id = str(uuid.uuid4())
    for _ in range(2):
        assert work.run("submit", queue, "--id", task_id).stdout.strip() == task_id
    assert len(work.json("tasks", "--queue", queue)["tasks"]) == 1


def test_stats_add_up(work: Any, queue: str) -> None:
    work.run("submit", queue)
    stats = work.json("stats")
    removed = stats["totals"]["removed"]
    assert stats["totals"]["submitted"] == sum(stats["states"].values()) + removed
    assert queue in work.run("stats").stdout


def test_unknown_task_is_refused(work: Any) -> None:
    refused = work.run("status", str(uuid.UUID(int=1)), "--json", code=1)
    assert json.loads(refused.stdout)["error"]["code"] == "NOT_FOUND"


def test_nobody_there_is_3(shell: Any) -> None:
    lost = shell.run("stats", "--url", "taskq://127.0.0.1:1", "--request-timeout", "300ms", code=3)
    assert "--url or TASKQ_URL says where" in lost.stderr
    assert "Traceback" not in lost.stderr


def test_key_of_the_url_is_never_shown(shell: Any) -> None:
    for where in ("taskq://se-cret@127.0.0.1:1", "http://se-cret@x", "taskq://se-cret@:x"):
        shell.environment["TASKQ_URL"] = where
        for arguments in (
            ["stats", "--request-timeout", "300ms"],
            ["stats", "--json", "--request-timeout", "300ms"],
        ):
            code = 3 if where.endswith(":1") else 2
            done = shell.run(*arguments, code=code)
            assert "se-cret" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("function", "text"),
    [
        ("nowhere:f", "there is no module 'nowhere'"),
        ("work:nothing", "module 'work' has no 'nothing'"),
        ("work", "write module:function"),
    ],
)
def test_worker_that_cannot_load_its_function(work: Any, function: str, text: str) -> None:
    failed = work.run("worker", function, "--queue", "q", code=2)
    assert text in failed.stderr
    assert "Traceback" not in failed.stderr


def test_worker_without_a_cluster_gives_up(work: Any) -> None:
    work.environment["TASKQ_URL"] = "taskq://127.0.0.1:1"
    lost = work.run("worker", "work:add", "--queue", "q", "--max-inactivity", "1s", code=3)
    assert "max_inactivity" in lost.stderr


def test_second_signal_gives_running_tasks_back(work: Any, queue: str, until: Any) -> None:
    worker = start_worker(work, "sleep", queue, "--concurrency", "1")
    task_id = work.run("submit", queue, "--json-args", "[100]").stdout.strip()
    until(lambda: work.json("status", task_id)["state"] == "leased")
    worker.send_signal(signal.SIGINT)
    assert "Stopping" in worker.stderr.readline()
    worker.send_signal(signal.SIGINT)
    worker.communicate(timeout=20)
    assert worker.returncode == 0
    status = work.json("status", task_id)
    assert (status["state"], status["retries"], status["lease_expiries"]) == ("ready", 0, 0)
