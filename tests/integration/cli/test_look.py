"""`taskq top`, `workers`, `dead show` and completion against a real node."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import uuid
from typing import Any

import pytest

WORK = """
import time

def fail(text):
    raise ValueError(text)

def sleep(secs):
    time.sleep(secs)
"""


@pytest.fixture
def work(shell: Any, url: str) -> Any:
    shell.environment["TASKQ_URL"] = url
    (shell.folder / "work.py").write_text(WORK)
    return shell


@pytest.fixture
def queue() -> str:
    return f"q-{uuid.uuid4().hex[:8]}"


def test_a_dead_task_is_shown_and_redriven(work: Any, queue: str, until: Any) -> None:
    work.start("worker", "work:fail", "--queue", queue, "--concurrency", "1")
    arguments = ["--json-args", '["no luck"]', "--max-retries", "0"]
    task_id = work.run("submit", queue, *arguments).stdout.strip()
    until(lambda: work.json("status", task_id)["state"] == "dead")
    shown = work.run("dead", "show", task_id).stdout
    assert "ValueError: no luck" in shown
    assert 'work.py", line' in shown
    assert work.json("dead", "redrive", task_id) == {"redriven": 1, "errors": {}}


def test_top_and_workers_tell_of_a_worker(work: Any, queue: str, until: Any) -> None:
    name = f"worker of {queue}"
    work.start("worker", "work:sleep", "--queue", queue, "--concurrency", "3", "--name", name)
    task_id = work.run("submit", queue, "--json-args", "[100]").stdout.strip()
    until(lambda: work.json("status", task_id)["state"] == "leased")
    (known,) = [one for one in work.json("workers")["workers"] if one["name"] == name]
    assert (known["concurrency"], known["leased"]) == (3, 1)
    assert name in work.run("workers").stdout
    document = work.json("top", "--interval", "200ms")
    assert document["cluster"]["leader"] == document["stats"]["leader"] != ""
    assert name in [one["name"] for one in document["stats"]["workers"]]
    assert document["rates"]["submitted_per_sec"] == 0
    picture = work.run("top", "--once", "--interval", "200ms").stdout
    assert queue in picture
    assert name in picture
    assert "The only member serves" in picture


def what_is_drawn(terminal: int) -> str:
    """The next output; nothing where the program has ended or draws nothing for 20 s."""
    if not select.select([terminal], [], [], 20)[0]:
        return ""
    try:
        return os.read(terminal, 65_536).decode("utf-8", "ignore")
    except OSError:  # so a terminal says that nobody is at its other end
        return ""


def test_top_draws_on_a_terminal_until_ctrl_c(work: Any, queue: str) -> None:
    work.run("submit", queue)
    ours, theirs = pty.openpty()
    environment = {**work.environment, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    top = subprocess.Popen(
        [sys.executable, "-P", "-m", "taskq.cli", "top", "--interval", "100ms"],
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        shown = ""
        while shown.count("taskq top") < 3:
            more = what_is_drawn(ours)
            assert more, shown
            shown += more
        assert "\x1b[?1049h" in shown, "the picture has a screen of its own"
        assert queue in shown
        top.send_signal(signal.SIGINT)
        while more := what_is_drawn(ours):
            shown += more
        assert top.wait(5) == 130
        assert "Traceback" not in shown
    finally:
        top.kill()
        top.wait()
        os.close(ours)


def test_bash_completes_names_of_queues(work: Any, queue: str) -> None:
    work.run("submit", queue)
    program = work.folder / "bin" / "taskq"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m taskq.cli "$@"\n')
    program.chmod(0o755)
    script = f"""
    eval "$(taskq completion bash)"
    complete -p taskq
    COMP_WORDS=(taskq queues pause {queue[:-2]}) COMP_CWORD=3
    _taskq_completion taskq
    echo "${{COMPREPLY[@]}}"
    """
    environment = {**work.environment, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == queue
    assert "_taskq_completion" in done.stdout
