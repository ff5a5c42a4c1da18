"""What executors owe each task when its neighbours are long, crash, block or are cancelled."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from pathlib import Path
from typing import Any

import pytest


async def warmed(cluster: Any, *arguments: Any, count: int = 30) -> None:
    """Lets so many short runs end, so that the worker claims and sends ahead."""
    for task in [cluster.submit(*arguments) for _ in range(count)]:
        await cluster.outcome(task)


async def wary_no_more(cluster: Any, worker: Any) -> None:
    """Short runs until the worker claims many ahead; on a busy machine one may have taken long."""
    async with asyncio.timeout(20):
        await warmed(cluster, 0)
        while worker._executor.claimable() < 25:
            await warmed(cluster, 0)


async def test_short_tasks_behind_a_long_one_go_to_another_process(
    cluster: Any, start: Any
) -> None:
    await start("block", concurrency=2)
    await warmed(cluster, 0)
    long = cluster.submit(6)
    short = [cluster.submit(0) for _ in range(50)]
    for task in short:
        assert (await cluster.outcome(task, 5)).ok
    assert long.token not in cluster.outcomes
    assert (await cluster.outcome(long)).ok


async def test_a_crash_fails_only_the_task_that_ran(cluster: Any, start: Any) -> None:
    await start("crash_if", concurrency=1)
    await warmed(cluster, False)
    tasks = [cluster.submit(number == 5) for number in range(40)]
    outcomes = [await cluster.outcome(task, 30) for task in tasks]
    assert [number for number, outcome in enumerate(outcomes) if not outcome.ok] == [5]
    assert "exited with status 7 while running the task" in outcomes[5].error


async def test_nothing_is_claimed_for_a_process_that_is_being_replaced(
    cluster: Any, start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "slow"
    monkeypatch.setenv("TASKQ_TEST_SLOW_START", str(slow))
    await start("crash_if", concurrency=1, prefetch=0)
    await warmed(cluster, False, count=1)
    slow.touch()  # the next process takes 2 s to load
    assert not (await cluster.outcome(cluster.submit(True))).ok
    task = cluster.submit(False)
    assert (await cluster.outcome(task)).ok
    assert cluster.released == []


@pytest.mark.parametrize("executor", ["process", "thread"])
async def test_what_waits_for_a_second_is_given_back(
    cluster: Any, start: Any, until: Any, executor: str
) -> None:
    worker, _ = await start("block", concurrency=1, executor=executor)
    await wary_no_more(cluster, worker)
    tasks = [cluster.submit(4)] + [cluster.submit(0) for _ in range(20)]
    behind = [task.token for task in tasks[1:]]
    await until(lambda: sorted(cluster.released) == behind, 3.5)
    # Nothing more is claimed while the only slot is taken.
    cluster.submit(0)
    await asyncio.sleep(0.3)
    assert cluster.ready.qsize() == 1
    assert (await cluster.outcome(tasks[0])).ok


async def test_long_tasks_are_not_claimed_ahead(cluster: Any, start: Any, until: Any) -> None:
    await start("block", concurrency=2)
    for _ in range(2):
        await cluster.outcome(cluster.submit(0.2))
    for _ in range(6):
        cluster.submit(0.3)
    await until(lambda: cluster.ready.qsize() == 4, 5)
    await asyncio.sleep(0.1)
    assert cluster.ready.qsize() == 4


@pytest.mark.parametrize(
    ("function", "executor"),
    [("extend", "process"), ("extend", "thread"), ("extend_async", "coroutine")],
)
async def test_a_run_extends_its_lease(
    cluster: Any, start: Any, function: str, executor: str
) -> None:
    await start(function, concurrency=1, executor=executor)
    task = cluster.submit(90.5)
    assert json.loads((await cluster.outcome(task)).result) == 90.5
    assert cluster.extended == [(task.token, 90_500)]


@pytest.mark.parametrize("executor", ["process", "thread"])
async def test_a_lost_lease_is_told_to_who_wants_to_extend_it(
    cluster: Any, start: Any, executor: str
) -> None:
    await start("extend", concurrency=1, executor=executor)
    cluster.invalid = [1]
    outcome = await cluster.outcome(cluster.submit(90))
    assert "StaleToken: the token is not valid any more [STALE_TOKEN]" in outcome.error


async def test_a_coroutine_that_blocks_its_loop_keeps_its_lease(cluster: Any, start: Any) -> None:
    await start("block_the_loop", concurrency=1)
    task = cluster.submit(1.6, lease_ms=1_000)
    assert (await cluster.outcome(task)).ok
    times = cluster.heartbeat_times
    assert len(times) >= 4  # a third of the lease
    assert max(b - a for a, b in itertools.pairwise(times)) < 0.7


async def test_a_coroutine_in_a_process_is_cancelled_as_one(
    cluster: Any, start: Any, until: Any, tmp_path: Path
) -> None:
    await start("note_cancellation", concurrency=1, executor="process", cancel_grace=30)
    path = tmp_path / "noted"
    task = cluster.submit(str(path))
    await until(Path(f"{path}.started").exists)
    began = time.monotonic()
    cluster.on_cancel(task.token)
    assert "cancelled" in (await cluster.outcome(task)).error
    assert time.monotonic() - began < 10  # long before the grace
    assert path.read_text() == "cancelled"


@pytest.mark.parametrize("executor", ["process", "thread", "coroutine"])
async def test_many_tasks_each_have_their_own_outcome(
    cluster: Any, start: Any, executor: str
) -> None:
    await start("shop:app", concurrency=3, executor=executor)
    tasks = [cluster.submit(number, name="add") for number in range(1_000)]
    for number, task in enumerate(tasks):
        assert (await cluster.outcome(task)).result == str(number + 1).encode()
    assert max(cluster.batches) > 5


async def test_cancelled_ahead_is_never_run(
    cluster: Any, start: Any, until: Any, tmp_path: Path
) -> None:
    worker, _ = await start("block", concurrency=1, cancel_grace=30)
    await wary_no_more(cluster, worker)
    long = cluster.submit(2)
    behind = [cluster.submit(0) for _ in range(10)]
    await until(cluster.ready.empty)
    cluster.on_cancel(behind[4].token)
    outcome = await cluster.outcome(behind[4], 1.5)
    assert "cancelled before it was started" in outcome.error
    assert long.token not in cluster.outcomes
