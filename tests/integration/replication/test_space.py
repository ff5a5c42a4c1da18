"""L7: space comes back to the disk, and only emptied ranges are rewritten for it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from unittest import mock

from cluster.replication.replica import Replica
from cluster.replication.upkeep import compact
from cluster.storage.state_store import StateStore
from taskq.commands import CancelTask, PurgeQueue, Retain, SubmitTask, SubmitTasks
from taskq.errors import Refusal
from tests.integration.replication.node import Client, holds, running, until

COUNT, SIZE = 400, 20_000  # 8 MB of payloads


def folder_size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.iterdir())


async def fill(client: Client, first: int) -> None:
    for start in range(first, first + COUNT, 100):
        tasks = [
            SubmitTask(number.to_bytes(16, "big"), "q", "", bytes(SIZE), keep_result=False)
            for number in range(start, start + 100)
        ]
        assert not isinstance(await client.propose(SubmitTasks(tasks)), Refusal)


def core_of(replica: Replica) -> Any:
    assert replica._core is not None
    return replica._core


async def written(replica: Replica) -> None:
    """The state on disk is at the applied index."""
    await until(lambda: not core_of(replica).applier.unwritten)


async def test_emptied_ranges_give_their_space_back(tmp_path: Path) -> None:
    live = 10**6
    async with running(tmp_path / "d") as (replica, client):
        await fill(client, 1)
        await client.submit(live, 1000)
        await written(replica)
        for start in range(1, COUNT + 1):
            await client.propose(CancelTask(start.to_bytes(16, "big")))
        await written(replica)
        state = tmp_path / "d" / "state"
        before = folder_size(state)
        assert before > COUNT * SIZE
        ranges: list[tuple[bytes, bytes | None]] = []
        compact_range = StateStore.compact

        def noting(self: StateStore, start: bytes = b"", stop: bytes | None = None) -> None:
            ranges.append((start, stop))
            compact_range(self, start, stop)

        with mock.patch.object(StateStore, "compact", noting):
            await asyncio.to_thread(compact, core_of(replica))
        assert folder_size(state) < before / 4
        assert len(ranges) > 10
        for key, _ in core_of(replica).state.iterate():
            inside = [one for one in ranges if one[0] <= key and (one[1] is None or key < one[1])]
            assert not inside, f"the live key {key!r} was rewritten"
        assert holds(replica, live)
    async with running(tmp_path / "d") as (replica, _):
        assert holds(replica, live)


async def test_retention_and_checkpoints_empty_the_folder(tmp_path: Path) -> None:
    """A queue that is used and drained does not grow for ever."""
    settings = {"retention_size_max": 0, "dedup_window_ms": 1}
    policy = {"checkpoint_interval_secs": 0.0, "checkpoint_size": 100_000}
    sizes = []
    async with running(tmp_path / "d", **settings, **policy) as (replica, client):
        for turn in range(3):
            await fill(client, 1 + turn * COUNT)
            await client.propose(PurgeQueue("q"))
            await client.propose(Retain(100_000))
            await written(replica)
            await client.submit(10**6 + turn)  # the batch that carries the checkpoint's deletions
            await written(replica)
            for _ in range(COUNT // 8):
                await client.propose(Retain(100_000))
            await asyncio.to_thread(compact, core_of(replica))
            sizes.append(folder_size(tmp_path / "d" / "state"))
            sizes.append(folder_size(tmp_path / "d" / "log"))
        assert replica.machine is core_of(replica).applier.machine
        core_of(replica).applier.machine.check()
    assert max(sizes[2:]) < COUNT * SIZE, sizes


async def test_compaction_runs_by_itself_and_a_stop_waits_for_it(tmp_path: Path) -> None:
    async with running(tmp_path / "d") as (_, client):
        await fill(client, 1)
    for _ in range(3):
        async with running(tmp_path / "d", compact_secs=0.02) as (_, client):
            await asyncio.sleep(0.03)
            assert not isinstance(await client.submit(10**6), Refusal)
    async with running(tmp_path / "d", compact_secs=0.02) as (replica, _):
        upkeep = [task for task in asyncio.all_tasks() if "Upkeep.run" in repr(task)]
        assert len(upkeep) == 1
        await asyncio.sleep(0.3)
        assert not upkeep[0].done()
        assert holds(replica, 10**6)
