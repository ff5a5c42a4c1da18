"""Tasks of a new version meet workers of the old one, which come and go, and so does the leader."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import taskq
from chaos.live.cluster import LiveCluster
from taskq import TaskFailed, TaskState
from taskq.cli import exits
from taskq.limits import UNKNOWN_RELEASES_MAX
from tests.integration.app.conftest import Shop, until
from tests.integration.serving import whole_cluster

# The delays of a second and more are those of deploys that take minutes.
VERSION = """
import taskq
from taskq.worker import unknown

unknown.DELAY_MS = {delay_ms}
"""
OLD = """
app = taskq.App(queue="shop")

@app.task(name="sub")
def sub(): pass
"""
NEW = "from shop import app\n"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveCluster]:
    with whole_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def shop(tmp_path: Path, cluster: LiveCluster) -> Iterator[Shop]:
    made = Shop(tmp_path, cluster.url)
    yield made
    made.close()


def version(shop: Shop, name: str, text: str, delay_ms: int) -> str:
    """Writes the module of an app; what a worker is started with."""
    (shop.folder / f"{name}.py").write_text(VERSION.format(delay_ms=delay_ms) + text)
    return f"{name}:app"


def met(shop: Shop, task: str, *workers: int) -> int:
    """How often workers have met a task that they do not know."""
    logs = [shop.log(number).read_text() for number in workers]
    return sum(log.count(f"is a '{task}', which this worker does not know") for log in logs)


def stop(worker: subprocess.Popen[bytes]) -> None:
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == exits.OK


def gone(shop: Shop) -> taskq.TaskHandle:
    """A task that no version knows, submitted."""
    handle: taskq.TaskHandle = shop.module.app.client.submit("shop", name="gone")
    return handle


def assert_nobody_knew(handle: taskq.TaskHandle) -> None:
    with pytest.raises(TaskFailed, match=r'UNKNOWN_TASK: 10 times .* know no task "gone"'):
        handle.result(timeout=30)
    status = handle.status()
    assert (status.state, status.attempt, status.retries) == (TaskState.DEAD, 1, 0)
    assert [attempt.outcome for attempt in status.attempts] == ["unknown_task"]
    assert status.reason == status.attempts[0].error


def test_releases_are_counted_across_restarts_of_the_worker(shop: Shop) -> None:
    # The second worker would need seconds to come to the tenth release before it is stopped.
    slow, fast = version(shop, "slow", OLD, 10), version(shop, "fast", OLD, 1)
    nobodys = gone(shop)
    for number in (0, 1):
        worker = shop.work("--concurrency=1", target=slow)
        until(lambda number=number: met(shop, "gone", number) > 1 - number)
        stop(worker)
    assert nobodys.status().state in (TaskState.SCHEDULED, TaskState.READY)
    shop.work("--concurrency=1", target=fast)
    assert_nobody_knew(nobodys)
    assert met(shop, "gone", 2) > 0
    assert met(shop, "gone", 0, 1, 2) == UNKNOWN_RELEASES_MAX


def test_a_rolling_deploy_goes_on_without_the_leader(shop: Shop, cluster: LiveCluster) -> None:
    old, new = version(shop, "old", OLD, 50), version(shop, "new", NEW, 1)
    workers = [shop.work("--concurrency=1", target=old) for _ in range(2)]
    nobodys, handle = gone(shop), shop.module.add.submit(1)
    until(lambda: all(met(shop, task, 0, 1) > 1 for task in ("add", "gone")))
    assert all(met(shop, "add", number) + met(shop, "gone", number) for number in (0, 1))
    cluster.kill(asyncio.run(cluster.leader()))
    shop.work("--concurrency=1", target=new)
    for worker in workers:
        stop(worker)
    assert handle.result(timeout=30) == {"sum": 2, "given": [1, 1]}
    assert handle.status().attempt == 1  # the releases count as nothing
    assert met(shop, "add", 2) == 0
    # What was counted under the dead leader counts.
    assert_nobody_knew(nobodys)
    assert met(shop, "gone", 2) > 0
    assert met(shop, "gone", 0, 1, 2) == UNKNOWN_RELEASES_MAX
