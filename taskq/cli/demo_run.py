"""The client's part of `taskq demo`: one task per file, and the sum of their results."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from taskq.cli.command import Failure
from taskq.cli.progress import Step
from taskq.cli.wordcount import Totals
from taskq.client import AsyncClient
from taskq.client.handle import AsyncTaskHandle
from taskq.client.submission import TaskSpec
from taskq.errors import TaskError, TaskqError
from taskq.worker.codec import CONTENT_TYPE_HEADER, CONTENT_TYPE_JSON

QUEUE = "demo"
FUNCTION = "taskq.cli.wordcount:count_file"
# Tasks in one frame.
BATCH_COUNT = 100
# Results asked for at a time.
ASKED_COUNT = 50
# How often the children are looked after.
WATCH_SECS = 0.2

SUBMITTED, COUNTED = "submitted", "counted"


async def count_by_tasks(
    url: str, files: list[str], step: Step, check_children: Callable[[], None]
) -> Totals:
    """Submits a task for each file and adds up the results.

    `check_children` is called now and then and raises where one has ended.
    """

    async def watch() -> None:
        while True:
            check_children()
            await asyncio.sleep(WATCH_SECS)

    async with AsyncClient(url, name="taskq demo") as client:
        watching = asyncio.create_task(watch())
        counting = asyncio.create_task(_count(client, files, step))
        try:
            await asyncio.wait([watching, counting], return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                watching.result()
            return await counting
        finally:
            watching.cancel()
            counting.cancel()
            await asyncio.gather(watching, counting, return_exceptions=True)


async def _count(client: AsyncClient, files: list[str], step: Step) -> Totals:
    handles: asyncio.Queue[tuple[str, AsyncTaskHandle] | None] = asyncio.Queue()
    totals = Totals()

    async def submit() -> None:
        for first in range(0, len(files), BATCH_COUNT):
            batch = files[first : first + BATCH_COUNT]
            answers = await client.submit_many([_task(path) for path in batch], retry_full=True)
            for path, answer in zip(batch, answers, strict=True):
                if isinstance(answer, TaskqError):
                    raise answer
                handles.put_nowait((path, answer))
            step(SUBMITTED, first + len(batch))
        for _ in range(ASKED_COUNT):
            handles.put_nowait(None)

    async def collect() -> None:
        nonlocal totals
        while (item := await handles.get()) is not None:
            path, handle = item
            try:
                counts = json.loads(await handle.result() or b"")
            except TaskError as error:
                raise Failure(f"Counting {path} failed: {error}") from error
            totals = totals.plus(counts)
            step(COUNTED, totals.files)

    async with asyncio.TaskGroup() as group:
        group.create_task(submit())
        for _ in range(ASKED_COUNT):
            group.create_task(collect())
    return totals


def _task(path: str) -> TaskSpec:
    payload = json.dumps({"args": [path]}).encode()
    return TaskSpec(
        queue=QUEUE,
        name="count_file",
        payload=payload,
        headers={CONTENT_TYPE_HEADER: CONTENT_TYPE_JSON},
    )
