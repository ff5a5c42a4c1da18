"""The group `persistence`, key by key: what is on disk, for how long, and what is refused."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

import taskq
from cluster.storage.directory import DataDirectory
from taskq import NotFound, RequestRefused
from taskq.errors import ErrorCode
from taskq.limits import KIB, MIB
from taskq.results import TaskState
from tests.integration.config.live_node import Node, running, until
from tests.integration.config.node_process import serving
from tests.integration.config.tested_keys import acts


@acts("persistence.data_dir")
async def test_data_dir_is_where_the_data_is(tmp_path: Path) -> None:
    place = tmp_path / "some" / "where"
    async with running(tmp_path, {"persistence.data_dir": place}) as node:
        handle = await node.client.submit("q")
    assert (place / "node.json").is_file()
    assert not (tmp_path / "data").exists()
    async with running(tmp_path, {"persistence.data_dir": place}) as node:
        assert (await node.client.status(handle.id)).state == TaskState.READY


def submitted_and_killed(folder: Path, given: dict[str, Any]) -> list[UUID]:
    """The ids of three acknowledged submits to a node that is killed half a second later."""
    folder.mkdir()
    with serving(folder, given) as node, taskq.Client(f"taskq://{node.served['broker']}") as client:
        # With durability interval the first may start a flush; the others wait for the next.
        ids = [client.submit("q").id for _ in range(3)]
        time.sleep(0.5)
        node.end(signal.SIGKILL)
    return ids


async def remembered(folder: Path, ids: list[UUID]) -> int:
    """How many of these tasks a node on the same data still knows."""
    async with running(folder) as node:
        return sum([not await is_gone(node, task_id) for task_id in ids])


@acts("persistence.durability", "persistence.wal_sync_interval_ms")
@pytest.mark.parametrize(
    ("durability", "interval_ms", "lost"),
    [("fsync", 10_000, False), ("interval", 10_000, True), ("interval", 10, False)],
)
async def test_durability_says_what_a_kill_may_take(
    tmp_path: Path, durability: str, interval_ms: int, lost: bool
) -> None:
    place = tmp_path / "node"
    ids = submitted_and_killed(
        place,
        {
            "persistence.durability": durability,
            "persistence.wal_sync_interval_ms": interval_ms,
        },
    )
    assert (await remembered(place, ids) < len(ids)) is lost


async def completed(node: Node) -> UUID:
    """A task that has just been completed, with a result."""
    handle = await node.client.submit("q", bytes(KIB))
    worker = node.worker()
    (task,) = await worker.claim(["q"])
    await worker.complete(task, bytes(KIB))
    return handle.id


async def buried(node: Node) -> UUID:
    """A task that has just died."""
    handle = await node.client.submit("q", bytes(KIB))
    worker = node.worker()
    (task,) = await worker.claim(["q"])
    assert await worker.fail(task, "for good", retry=False) == TaskState.DEAD
    return handle.id


async def is_gone(node: Node, task_id: UUID) -> bool:
    try:
        await node.client.status(task_id)
    except NotFound:
        return True
    return False


@acts("persistence.completed_task_retention_days", "persistence.dead_letter_retention_days")
@pytest.mark.parametrize(
    ("key", "ended", "other"),
    [
        ("completed_task_retention_days", completed, buried),
        ("dead_letter_retention_days", buried, completed),
    ],
)
async def test_ended_tasks_go_after_their_days(
    tmp_path: Path, key: str, ended: Any, other: Any
) -> None:
    async with running(tmp_path, {f"persistence.{key}": 0}) as node:
        kept, dropped = await other(node), await ended(node)
        await until(lambda: is_gone(node, dropped), "the end of its retention")
        assert not await is_gone(node, kept)


@acts("persistence.retention_max_bytes", "persistence.dead_letter_max_bytes")
@pytest.mark.parametrize(
    ("key", "ended", "other"),
    [
        ("retention_max_bytes", completed, buried),
        ("dead_letter_max_bytes", buried, completed),
    ],
)
async def test_ended_tasks_go_when_they_are_too_large(
    tmp_path: Path, key: str, ended: Any, other: Any
) -> None:
    async with running(tmp_path, {f"persistence.{key}": "5KiB"}) as node:
        kept, first = await other(node), await ended(node)
        assert not await is_gone(node, first)
        others = [await ended(node) for _ in range(4)]
        await until(lambda: is_gone(node, first), "the oldest making room")
        assert not await is_gone(node, kept)
        assert not await is_gone(node, others[-1])


@acts("persistence.dedup_window_secs")
@pytest.mark.parametrize(("secs", "submitted"), [(0, 2), (600, 1)])
async def test_a_repeat_is_recognised_within_its_window(
    tmp_path: Path, secs: int, submitted: int
) -> None:
    given = {"persistence.dedup_window_secs": secs, "persistence.retention_max_bytes": 0}
    async with running(tmp_path, given) as node:
        task_id = await completed(node)
        await until(lambda: is_gone(node, task_id), "dropped by the byte limit")
        await node.client.submit("q", task_id=task_id)
        assert (await node.client.stats()).totals["submitted"] == submitted


def first_index(folder: Path) -> int:
    """Index of the oldest entry in the log of a node that has ended; the very first is 1."""
    with DataDirectory.open(folder / "data", "node1") as directory:
        log = directory.open_log()
        try:
            return log.first_index
        finally:
            log.close()


async def fill(node: Node, mebibytes: float) -> None:
    for _ in range(round(mebibytes * 2)):
        await node.client.submit("q", bytes(512 * KIB))


@acts("persistence.checkpoint_log_bytes")
@pytest.mark.parametrize(("size", "dropped"), [("64KiB", True), ("64MiB", False)])
async def test_a_checkpoint_when_the_log_is_so_large(
    tmp_path: Path, size: str, dropped: bool
) -> None:
    async with running(tmp_path, {"persistence.checkpoint_log_bytes": size}) as node:
        await fill(node, 3)
        await asyncio.sleep(1.2)  # the state is written, a second old at most
    assert (first_index(tmp_path) > 1) is dropped


@acts("raft.snapshot_interval_secs")
@pytest.mark.parametrize(("secs", "dropped"), [(1, True), (300, False)])
async def test_a_checkpoint_when_its_time_has_come(
    tmp_path: Path, secs: int, dropped: bool
) -> None:
    given = {"persistence.checkpoint_log_bytes": 4 * MIB, "raft.snapshot_interval_secs": secs}
    async with running(tmp_path, given) as node:
        # Each wait is for the state, which is written behind by a second at most.
        await fill(node, 4.5)  # a checkpoint by size, which leaves the last 4 MiB
        await asyncio.sleep(1.2)
        await fill(node, 2.5)  # not enough for the next one by size
        await asyncio.sleep(1.2)
        for _ in range(2):  # the interval may just not have been over at the first
            await node.client.submit("q")
            await asyncio.sleep(1.2)
    # Leaving the last 4 of 7 MiB drops 2 MiB or more, four tasks; else it was 0.5 MiB at most.
    assert (first_index(tmp_path) > 5) is dropped


@acts("persistence.disk_reserve_bytes")
async def test_what_grows_is_refused_below_the_reserve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DataDirectory, "free_bytes", lambda _: 100 * MIB)
    async with running(tmp_path / "more", {"persistence.disk_reserve_bytes": "101MiB"}) as node:
        with pytest.raises(RequestRefused) as raised:
            await node.client.submit("q")
        assert raised.value.code == ErrorCode.DISK_FULL
    async with running(tmp_path / "less", {"persistence.disk_reserve_bytes": "99MiB"}) as node:
        await node.client.submit("q")


@acts("persistence.auto_compact", "persistence.compact_interval_secs")
@pytest.mark.parametrize(
    ("automatic", "secs", "compacted"), [(True, 1, True), (True, 60, False), (False, 1, False)]
)
async def test_space_is_given_back_in_time(
    tmp_path: Path, automatic: bool, secs: int, compacted: bool
) -> None:
    given = {"persistence.auto_compact": automatic, "persistence.compact_interval_secs": secs}
    with capture_logs() as logs:
        async with running(tmp_path, given):
            await asyncio.sleep(1.6)
    assert any(line["event"] == "compacted" for line in logs) is compacted
