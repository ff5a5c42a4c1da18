"""`taskq.App` and `taskq worker module:app` against a real node, as people use them."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

import taskq
from taskq import TaskCancelled, TaskFailed, TaskState
from taskq.cli import exits
from tests.integration.app.conftest import ROOT, Shop, until

# About every sixth used to leave a lease, to end by itself: a claim that waited came after the
# worker's farewell, or was woken after it.
STOPS = 30


@pytest.mark.parametrize("executor", ["process", "thread", "coroutine"])
def test_a_submitted_call_is_run_and_its_result_comes_back(shop: Shop, executor: str) -> None:
    shop.work("--concurrency=2", f"--executor={executor}")
    handle = shop.module.add.submit(2, b=3)
    assert handle.result(timeout=30) == {"sum": 5, "given": [2, 3]}
    assert handle.status().state is TaskState.COMPLETED
    assert handle.status().name == "add"
    with pytest.raises(TaskFailed, match="RuntimeError: no luck") as caught:
        shop.module.fail.submit("no luck").result(timeout=30)
    assert 'shop.py", line' in str(caught.value)  # the remote traceback


def test_handles_work_in_asyncio_too(shop: Shop) -> None:
    shop.work("--concurrency=2")

    async def both() -> list[Any]:
        handle = await shop.module.add.submit_async(1)
        blocking = shop.module.add.submit(2)
        found = [await handle, await blocking, await handle.result(timeout=5)]
        assert (await handle.status()).state is TaskState.COMPLETED
        many = await shop.module.app.submit_many_async(shop.module.add.spec(n) for n in range(50))
        return [*found, *(await asyncio.gather(*many))]

    sums = [value["sum"] for value in asyncio.run(both())]
    assert sums == [2, 3, 2, *range(1, 51)]


def test_a_handle_is_found_again_by_its_id(shop: Shop) -> None:
    shop.work("--concurrency=1")
    task_id = shop.module.add.submit(5).id
    elsewhere = taskq.App(shop.url)
    assert elsewhere.handle(task_id).result(timeout=30) == {"sum": 6, "given": [5, 1]}
    assert asyncio.run(_awaited(elsewhere.async_handle(task_id)))["sum"] == 6
    elsewhere.close()
    with pytest.raises(taskq.NotFound):
        shop.module.app.handle(uuid4()).result(timeout=1)


async def _awaited(handle: Any) -> Any:
    return await handle


def test_the_same_id_makes_one_task_and_a_delay_is_kept(shop: Shop) -> None:
    shop.work("--concurrency=1")
    task_id = uuid4()
    once = shop.module.add.options(task_id=task_id)
    assert once.submit(1) == once.submit(2)
    assert once.submit(3).result(timeout=30)["sum"] == 2
    later = datetime.now(UTC) + timedelta(seconds=1)
    handle = shop.module.add.options(at=later).submit(1)
    with pytest.raises(TimeoutError):
        handle.result(timeout=0.1)
    assert handle.result(timeout=30)["sum"] == 2
    assert handle.status().started_at >= later


def test_a_run_knows_its_task(shop: Shop) -> None:
    shop.work("--concurrency=1")
    handle = shop.module.about.options(timeout=50).submit()
    task_id, attempt, token, deadline, cancelled, name, lease = handle.result(timeout=30)
    assert (UUID(task_id), attempt, cancelled, name) == (handle.id, 1, False, "about")
    assert token > 0
    assert 0 < (datetime.fromisoformat(deadline) - datetime.now(UTC)).total_seconds() <= 50
    assert 40 < lease <= 50  # never past the run's own limit
    assert shop.module.about.submit().result(timeout=30)[3] is None


def test_tasks_submit_tasks(shop: Shop) -> None:
    shop.work("--concurrency=2")
    inner = shop.module.outer.submit(4).result(timeout=30)
    assert shop.module.app.handle(inner).result(timeout=30)["sum"] == 5


def test_a_crashed_process_fails_its_task_with_the_reason_and_is_replaced(shop: Shop) -> None:
    shop.work("--concurrency=1")
    with pytest.raises(TaskFailed, match="exited with status 9 while running the task"):
        shop.module.die.submit().result(timeout=30)
    assert shop.module.add.submit(1).result(timeout=30)["sum"] == 2


def test_a_task_that_holds_the_interpreter_lock_keeps_its_lease(shop: Shop) -> None:
    # As 60 s are to a lease of 30 s; at full length below.
    worker = shop.work("--concurrency=1", "--lease=2s")
    handle = shop.module.hold.submit(4.0)
    assert handle.result(timeout=30) == 1
    status = handle.status()
    assert (status.attempt, status.lease_expiries) == (1, 0)
    assert worker.poll() is None


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_a_task_that_holds_the_interpreter_lock_for_a_minute_keeps_its_lease(shop: Shop) -> None:
    """With the lease of 30 s that everybody has, and a second worker that would take the task."""
    shop.work("--concurrency=1")
    handle = shop.module.hold.submit(60)
    until(lambda: handle.status().state is TaskState.LEASED)
    rival = shop.work("--concurrency=1")
    assert handle.result(timeout=120) == 1
    status = handle.status()
    assert (status.attempt, status.lease_expiries, len(status.attempts)) == (1, 0, 1)
    assert status.ended_at - status.started_at >= timedelta(seconds=60)
    rival.send_signal(signal.SIGTERM)
    assert rival.wait(30) == exits.OK
    assert "token" not in shop.log(0).read_text(), "the worker knew of no lost lease"


@pytest.mark.parametrize(
    ("executor", "task", "arguments", "ending"),
    [
        ("process", "nap", [60], TaskCancelled),  # terminated after the grace
        ("process", "until_cancelled", [], "asked to stop"),
        ("thread", "until_cancelled", [], "asked to stop"),
        ("coroutine", "sleep_async", [60], TaskCancelled),
        ("process", "sleep_async", [60], TaskCancelled),
    ],
)
def test_cancellation_reaches_every_kind_of_run(
    shop: Shop, executor: str, task: str, arguments: list[Any], ending: Any
) -> None:
    shop.work("--concurrency=1", f"--executor={executor}", "--cancel-grace=1s")
    handle = getattr(shop.module, task).submit(*arguments)
    until(lambda: handle.status().state is TaskState.LEASED)
    time.sleep(0.2)  # the run has begun
    began = time.monotonic()
    assert handle.cancel().requested
    if isinstance(ending, str):
        assert handle.result(timeout=30) == ending  # a completion wins
    else:
        with pytest.raises(ending):
            handle.result(timeout=30)
    assert time.monotonic() - began < 10


def test_sigterm_lets_running_tasks_end_and_gives_the_others_back(shop: Shop) -> None:
    worker = shop.work("--concurrency=1", "--prefetch=3")
    handles = [shop.module.nap.submit(1.5 if number == 0 else 30) for number in range(3)]
    until(lambda: handles[2].status().state is TaskState.LEASED)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == exits.OK
    first, *others = [handle.status() for handle in handles]
    assert first.state is TaskState.COMPLETED
    assert [(status.state, status.attempt) for status in others] == [(TaskState.READY, 0)] * 2
    for handle in handles[1:]:
        handle.cancel()


def test_a_second_signal_is_quick(shop: Shop) -> None:
    worker = shop.work("--concurrency=1")
    handle = shop.module.nap.submit(60)
    until(lambda: handle.status().state is TaskState.LEASED)
    worker.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert worker.poll() is None
    began = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == exits.OK
    assert time.monotonic() - began < 8
    assert handle.status().state is TaskState.READY
    handle.cancel()


def test_a_script_is_app_and_worker_in_one(shop: Shop) -> None:
    script = shop.folder / "one.py"
    script.write_text(
        "import sys, threading, taskq\n"
        f"app = taskq.App({shop.url!r}, queue='one')\n"
        "@app.task\n"
        "def double(n): return 2 * n\n"
        "if __name__ == '__main__':\n"
        "    handle = double.submit(21)\n"
        "    def wait():\n"
        "        print(double.name, handle.result(timeout=30), flush=True)\n"
        "        import os, signal; os.kill(os.getpid(), signal.SIGTERM)\n"
        "    threading.Thread(target=wait).start()\n"
        "    app.worker(concurrency=2).run()\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=shop.folder,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (done.stdout, done.returncode) == ("one.double 42\n", 0), done.stderr


async def test_a_worker_that_was_stopped_while_tasks_arrive_holds_nothing(node: str) -> None:
    async with taskq.AsyncClient(node) as client, asyncio.TaskGroup() as group:

        async def submit_on() -> None:
            while True:
                await client.submit("stops")
                await asyncio.sleep(random.uniform(0, 0.004))

        submitting = group.create_task(submit_on())
        for _ in range(STOPS):
            how = {"executor": "thread", "concurrency": 1, "name": "stopped"}
            worker = taskq.Worker(node, time.time, "stops", **how)
            serving = group.create_task(worker.serve())
            await asyncio.sleep(random.uniform(0.02, 0.05))
            worker.stop()
            await serving
            leased = client.tasks(queue="stops", state=TaskState.LEASED)
            assert [task async for task in leased] == []
            assert "stopped" not in [one.name for one in await client.workers()]
        submitting.cancel()


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("shop:nothing", "module 'shop' has no 'nothing'"),
        ("nowhere:app", "there is no module 'nowhere'"),
        ("shop:time", "it is no function but module"),
        ("shop", "write module:function"),
    ],
)
def test_what_is_no_app_is_a_mistake_on_the_command_line(
    shop: Shop, target: str, text: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "taskq.cli", "worker", target],
        cwd=shop.folder,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == exits.USAGE
    assert text in done.stderr
