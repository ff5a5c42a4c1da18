"""A worker in a container: runs the tasks of an app that is mounted, and ends what it runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from docker.models.containers import Container

import taskq
from chaos.live.containers import IMAGE_USER
from tests.integration.containers.looking import GRACE_SECS, WAIT_SECS, address, stopped, until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(60, func_only=True)]

APP = """
import os, time, taskq
app = taskq.App(queue="shop")

@app.task
def whoami(greeting):
    return [greeting, os.getuid()]

@app.task
def slow(secs):
    time.sleep(secs)
    return "done"
"""


@pytest.fixture
def url(container: Callable[..., Container]) -> str:
    """Of a node."""
    node = container()
    until(node, "serving")
    return f"taskq://{address(node)}:6379"


@pytest.fixture
def worker(container: Callable[..., Container], url: str, tmp_path: Path) -> Container:
    tmp_path.chmod(0o755)
    (tmp_path / "shop.py").write_text(APP)
    return container(
        *("taskq", "worker", "shop:app", "--concurrency", "2"),
        working_dir="/app",
        volumes={str(tmp_path): {"bind": "/app", "mode": "ro"}},
        environment={"TASKQ_URL": url},
    )


def test_it_runs_tasks_and_ends_those_that_run(url: str, worker: Container) -> None:
    app = taskq.App(url, queue="shop")
    whoami = app.task(name="shop.whoami")(lambda greeting: None)
    slow = app.task(name="shop.slow")(lambda secs: None)
    assert whoami.submit("hello").result(timeout=WAIT_SECS) == ["hello", IMAGE_USER]

    running = slow.submit(2.0)
    deadline = time.monotonic() + WAIT_SECS
    while running.status().state.name != "LEASED":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    code, secs = stopped(worker)
    assert code == 0, worker.logs().decode()
    assert 0.5 < secs < GRACE_SECS, "it waits for what runs, and for nothing else"
    assert running.result(timeout=WAIT_SECS) == "done"
    assert "2 completed, 0 failed" in worker.logs().decode()
    app.close()
