"""The group `worker`: `taskq worker` as a process of its own, told by the environment."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from taskq.cli import exits
from taskq.results import TaskState
from tests.integration.config.live_node import PATIENCE_SECS, Node, running, until
from tests.integration.config.node_process import environment
from tests.integration.config.tested_keys import acts

# No test waits for its end.
WORK = "import time\ndef nap():\n    time.sleep(100)\n"


def started(folder: Path, address: str, settings: Sequence[str]) -> subprocess.Popen[bytes]:
    (folder / "work.py").write_text(WORK, "utf-8")
    given = dict(setting.split("=") for setting in settings)
    variables = {f"TASKQ_WORKER__{name}": value for name, value in given.items()}
    with (folder / "worker.log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "taskq.cli", "worker", "work:nap", "--queue", "q"],
            env=environment({"TASKQ_URL": f"taskq://{address}", **variables}),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


@asynccontextmanager
async def working(
    folder: Path, node: Node, *settings: str
) -> AsyncIterator[subprocess.Popen[bytes]]:
    """A worker for the queue `q`, once the node knows it; killed where the test did not end it."""
    process = started(folder, node.addresses.broker, settings)

    async def known() -> bool:
        assert process.poll() is None, (folder / "worker.log").read_text("utf-8")
        return bool(await node.client.workers())

    try:
        await until(known, "the worker makes itself known")
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


async def ended(process: subprocess.Popen[bytes]) -> int:
    """Its exit code; the loop of the node goes on meanwhile."""

    async def over() -> bool:
        return process.poll() is not None

    await until(over, "the end of the worker")
    return process.returncode


@acts("worker.concurrency")
async def test_so_many_tasks_run_at_once(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        await node.client.submit_many([{"queue": "q"} for _ in range(5)])
        async with working(tmp_path, node, "CONCURRENCY=2"):
            (worker,) = await node.client.workers()
            assert worker.concurrency == 2

            async def two_run() -> bool:
                return "tq_tasks_in_progress 2.0" in await node.metrics()

            await until(two_run, "two tasks run")


@acts("worker.heartbeat_interval_secs")
async def test_heartbeats_come_as_often_as_it_says(tmp_path: Path) -> None:
    beat = 'tq_requests_total{message="Heartbeat",outcome="ok"} '
    one = "HEARTBEAT_INTERVAL_SECS=0.2"
    async with running(tmp_path) as node, working(tmp_path, node, one):

        async def three() -> bool:
            # With the default of 15 s this takes longer than anybody waits here.
            lines = (await node.metrics()).splitlines()
            counts = [line.removeprefix(beat) for line in lines if line.startswith(beat)]
            return any(float(count) >= 3 for count in counts)

        await until(three, "three heartbeats")


@acts("worker.graceful_shutdown_timeout_secs")
async def test_running_tasks_are_given_back_after_that_time(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        handle = await node.client.submit("q")

        async def runs() -> bool:
            return (await node.client.status(handle.id)).state == TaskState.LEASED

        async with working(tmp_path, node, "GRACEFUL_SHUTDOWN_TIMEOUT_SECS=0.5") as process:
            await until(runs, "the task runs")
            process.send_signal(signal.SIGTERM)
            started = time.monotonic()
            assert await ended(process) == exits.OK
            assert 0.5 <= time.monotonic() - started < PATIENCE_SECS
        assert (await node.client.status(handle.id)).state == TaskState.READY


@acts("worker.max_inactivity_secs")
async def test_a_worker_that_is_cut_off_gives_up(tmp_path: Path) -> None:
    one = "MAX_INACTIVITY_SECS=1"
    async with running(tmp_path) as node, working(tmp_path, node, one) as process:
        node.stop.set()
        # With the default of 60 s this takes longer than anybody waits here.
        assert await ended(process) == exits.UNREACHABLE
