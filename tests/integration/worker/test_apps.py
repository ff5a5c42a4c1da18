"""Workers of an app: functions by name, in processes, threads and coroutines."""

from __future__ import annotations

import json
import os
from typing import Any

import msgpack
import pytest

from taskq.commands import Nack

KINDS = ["process", "thread", "coroutine"]


@pytest.mark.parametrize("executor", KINDS)
async def test_every_executor_runs_every_kind_of_function(
    cluster: Any, start: Any, executor: str
) -> None:
    await start("shop:app", concurrency=2, executor=executor)
    add = cluster.submit(2, kwargs={"b": 3}, name="add")
    packed = msgpack.packb({"args": [b"abc"]})
    as_msgpack = {"content-type": "application/msgpack"}
    size = cluster.submit(payload=packed, headers=as_msgpack, name="size")
    reverse = cluster.submit(payload=b"\xff\0", name="reverse")
    plain, coroutine = cluster.submit(name="where"), cluster.submit(name="where_async")
    assert (await cluster.outcome(add)).result == b"5"
    result = (await cluster.outcome(size)).result
    assert msgpack.unpackb(result, strict_map_key=False) == {1: 3}
    assert (await cluster.outcome(reverse)).result == b"\0\xff"
    places = [json.loads((await cluster.outcome(one)).result) for one in (plain, coroutine)]
    if executor == "process":
        assert all(pid != os.getpid() and name == "MainThread" for pid, name in places)
        return
    assert all(pid == os.getpid() and name != "MainThread" for pid, name in places)
    names = [name for _, name in places]
    assert names[0].startswith("taskq-task-")
    assert names[1].startswith("taskq-task-" if executor == "thread" else "taskq-coroutines")


async def test_queues_default_to_those_of_the_tasks(cluster: Any, start: Any) -> None:
    from taskq import Worker, WorkerError

    await start("shop:app", concurrency=1, executor="thread")
    assert Worker(None, "shop:app", executor="thread").queues == ["work"]
    with pytest.raises(WorkerError, match="name at least one queue"):
        Worker(None, "functions:add", executor="thread")


async def test_an_unknown_name_is_given_back_again_and_again(
    cluster: Any, start: Any, until: Any
) -> None:
    await start("shop:app", concurrency=2, executor="thread")
    task = cluster.submit(1, name="of.the.next.version")
    release = Nack(task.task_id, task.token, 1_000, unknown_task=True)
    for count in range(1, 12):  # the cluster counts, not the worker
        await until(lambda count=count: cluster.unknown == [release] * count)
        cluster.ready.put_nowait(task)  # claimed again
    known = cluster.submit(1, name="add")
    assert (await cluster.outcome(known)).ok
    assert cluster.released == [task.token] * len(cluster.unknown)
    assert list(cluster.outcomes) == [known.token]
