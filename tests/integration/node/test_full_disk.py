"""A real node whose disk is full, nearly or really: what grows is refused, what drains goes on."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from chaos.live.node import LiveNode
from taskq import AsyncClient, ErrorCode, QueueFull, TaskqError
from taskq.results import TaskState

MIB = 2**20
RESERVE = 100 * MIB


async def until(holds: Callable[[], Awaitable[bool]], what: str, secs: float = 15.0) -> None:
    deadline = time.monotonic() + secs
    while not await holds():
        assert time.monotonic() < deadline, f"not within {secs:g} s: {what}"
        await asyncio.sleep(0.05)


async def test_below_the_reserve_what_grows_is_refused_and_the_rest_drains(tmp_path: Path) -> None:
    free = tmp_path / "free"
    free.write_text(str(10 * RESERVE))
    settings = {"persistence.disk_reserve_bytes": RESERVE}
    with LiveNode(tmp_path, settings, module="tests.integration.node.faked_disk") as node:
        node.environment["FREE_BYTES"] = str(free)
        node.spawn()
        await node.serving()
        async with AsyncClient(node.url) as client:
            worker = client.worker()
            handles = [await client.submit("q", b"x") for _ in range(6)]
            (dead,) = await worker.claim(["q"])
            await worker.fail(dead, "no luck", retry=False)
            free.write_text(str(RESERVE - 1))

            async def refuses() -> bool:
                try:
                    await client.submit("q", b"x")
                except QueueFull as error:
                    assert error.code == ErrorCode.DISK_FULL
                    assert "persistence.disk_reserve_bytes" in error.message
                    assert error.retry_after > 0
                    return True
                return False

            await until(refuses, "submits are refused")
            # Batches member by member, and redrives, too.
            (answer,) = await client.submit_many([{"queue": "q", "payload": b"x"}])
            assert isinstance(answer, QueueFull)
            (redriven,) = await client.redrive([dead.task_id])
            assert isinstance(redriven, QueueFull)
            # A repeat of what is known is answered before any limit is looked at.
            again = await client.submit("q", b"x", task_id=handles[0].id)
            assert again.id == handles[0].id
            done, failed, released, held, cancelled = await worker.claim(["q"], 5)
            assert await worker.complete(done, b"result") is TaskState.COMPLETED
            assert await worker.fail(failed, "no luck") is TaskState.RETRYING
            assert await worker.release(released) is TaskState.READY
            assert (await worker.extend(held)).lease_ms > 0
            assert (await worker.heartbeat([held.token])).invalid == []
            assert (await client.cancel(cancelled.task_id, force=True)).state.name == "CANCELLED"
            assert await client.result(done.task_id) == b"result"

            free.write_text(str(2 * RESERVE))

            async def accepts() -> bool:
                return not await refuses()

            await until(accepts, "submits are taken again")


class Submitter:
    """Submits one task after the other, through everything, and notes what was acknowledged."""

    def __init__(self, client: AsyncClient, size: int) -> None:
        self._client = client
        self._size = size
        self.acknowledged: set[str] = set()
        self.stopping = False

    async def run(self) -> None:
        while not self.stopping:
            try:
                handle = await self._client.submit("q", os.urandom(self._size), timeout=2)
                self.acknowledged.add(str(handle.id))
            except TaskqError:
                pass  # refused or unknown: nothing was promised
            await asyncio.sleep(0.002)


def limit_files(pid: int, size: int) -> None:
    """No file of the process can grow beyond `size`; a write that would fails (EFBIG)."""
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


async def ids(client: AsyncClient) -> set[str]:
    return {str(view.id) async for view in client.tasks()}


@pytest.mark.parametrize("size", [64 * 1024, 8 * 1024, 0])
async def test_writes_that_fail_lose_nothing_and_it_recovers_by_itself(
    tmp_path: Path, size: int
) -> None:
    """With the smaller limits neither a table nor the node's own log can be written."""
    with LiveNode(tmp_path) as node:
        node.spawn()
        await node.serving()
        async with AsyncClient(node.url) as client:
            submitter = Submitter(client, 400)
            running = asyncio.create_task(submitter.run())
            await until(_grown(submitter, 50), "the first submits")
            limit_files(node.pid, size)
            await until(_stands_still(submitter), "nothing is taken any more")
            assert node.running, node.log_tail()
            limit_files(node.pid, resource.RLIM_INFINITY)
            await until(_grown(submitter, 50), "submits are taken again")
            submitter.stopping = True
            await running
            assert submitter.acknowledged <= await ids(client)
        # The same process went through it, and what it holds outlives it.
        node.kill()
        node.spawn()
        await node.serving()
        async with AsyncClient(node.url) as client:
            assert submitter.acknowledged <= await ids(client)
            stats = await client.stats()
            assert stats.totals["submitted"] == len(await ids(client))


async def test_a_limit_that_only_the_write_ahead_file_meets_is_lived_with(tmp_path: Path) -> None:
    """Each time a write fails the databases are opened again, which begins a new file. The limit
    is above the size of a table (2 MiB), else LevelDB could never merge any."""
    with LiveNode(tmp_path) as node:
        node.spawn()
        await node.serving()
        async with AsyncClient(node.url) as client:
            submitter = Submitter(client, 20_000)
            running = asyncio.create_task(submitter.run())
            limit_files(node.pid, 3 * MIB)
            await until(_grown(submitter, 350), "7 MB through files of 3 MiB", 30)
            submitter.stopping = True
            await running
            assert submitter.acknowledged <= await ids(client)
        failures = [line for line in node.log_lines() if "disk failed" in str(line.get("message"))]
        assert failures
        node.kill()
        node.spawn()
        await node.serving()
        async with AsyncClient(node.url) as client:
            assert submitter.acknowledged <= await ids(client)


def _grown(submitter: Submitter, by: int) -> Callable[[], Awaitable[bool]]:
    start = len(submitter.acknowledged)

    async def holds() -> bool:
        return len(submitter.acknowledged) >= start + by

    return holds


def _stands_still(submitter: Submitter) -> Callable[[], Awaitable[bool]]:
    seen: list[Any] = [-1, time.monotonic()]

    async def holds() -> bool:
        if len(submitter.acknowledged) != seen[0]:
            seen[:] = [len(submitter.acknowledged), time.monotonic()]
        return time.monotonic() - seen[1] > 0.7

    return holds
