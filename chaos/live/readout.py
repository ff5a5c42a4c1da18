"""What a node says of every task, through the doors that everybody has: listing, status, counts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from chaos.history import Final
from chaos.live.load import viewed
from taskq import AsyncClient, NotFound
from taskq.commands import ListTasks, QueryStatus

# Status requests under way at once.
WINDOW = 500
# Two equal counts so far apart: nothing moves by itself any more.
QUIET_SECS = 0.3
QUIET_SECS_MAX = 20.0


async def read_out(client: AsyncClient, ids: Iterable[str]) -> Final:
    """Reads everything. `ids` are the tasks to ask for one by one, whether they exist or not.

    Nothing else may be running; waits until delays and leases have run out.
    """
    await _quiet(client)
    stats = await client.stats()
    tasks: dict[str, dict[str, Any]] = {}
    async for page in client.pages(ListTasks()):
        for view in page:
            tasks[view.task_id.hex()] = viewed(view)
    statuses: dict[str, str] = {}
    waiting = sorted({*ids, *tasks})
    for start in range(0, len(waiting), WINDOW):
        batch = waiting[start : start + WINDOW]
        for task_id, view in zip(batch, await _ask(client, batch), strict=True):
            if isinstance(view, NotFound):
                statuses[task_id] = "NOT_FOUND"
                continue
            seen = viewed(view)
            statuses[task_id] = seen["state"]
            if task_id in tasks:
                tasks[task_id]["result"] = seen["result"]
    after = await client.stats()
    assert after.states == stats.states, "something moved during the read-out"
    return Final(tasks, statuses, dict(stats.states), dict(stats.totals))


async def _ask(client: AsyncClient, batch: list[str]) -> list[Any]:
    requests = [client.send(QueryStatus(bytes.fromhex(task_id))) for task_id in batch]
    answers = await asyncio.gather(*requests, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, NotFound):
            raise answer
    return list(answers)


async def _quiet(client: AsyncClient) -> None:
    """Waits until no task is scheduled, retrying or leased any more."""
    deadline = asyncio.get_running_loop().time() + QUIET_SECS_MAX
    while True:
        stats = await client.stats()
        moving = sum(stats.states[state] for state in ("scheduled", "retrying", "leased"))
        if not moving or asyncio.get_running_loop().time() > deadline:
            return
        await asyncio.sleep(QUIET_SECS)
