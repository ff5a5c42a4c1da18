"""A node with tasks in several states, and a backup of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from taskq.backup.reading import BackupReader
from taskq.backup.writing import BackupWriter
from taskq.client.backup import open_backup
from taskq.commands import ClaimTask, SubmitTask, TaskResult
from tests.integration.config.live_node import running

WORKER = b"w" * 16
# Each is in a state of its own in the backup.
READY, LEASED, DONE, SCHEDULED, LARGE = (bytes([number]) * 16 for number in range(1, 6))
LARGE_SIZE = 700_000


async def fetch(url: str, path: Path, **how: Any) -> None:
    """A backup file from a running cluster."""
    with BackupWriter(path, overwrite=True) as writer:
        async with await open_backup(url, **how) as source:
            writer.begin(source.head)
            async for chunk in source.chunks():
                writer.add(chunk)
        writer.finish()


async def _make(folder: Path) -> int:
    async with running(folder) as node:
        call = node.client.call
        for task_id in (DONE, LEASED):
            await call(SubmitTask(task_id, "q"))
            claimed = await call(ClaimTask(WORKER, 1 + (task_id == LEASED), 1, ["q"]))
            token: int = claimed.tasks[0][1]
            if task_id == DONE:
                await call(TaskResult(task_id, token, True, b"result"))
        await call(SubmitTask(READY, "q", payload=b"kept"))
        await call(SubmitTask(SCHEDULED, "q", delay_ms=3_600_000))
        await call(SubmitTask(LARGE, "large", payload=bytes(LARGE_SIZE)))
        await fetch(f"taskq://{node.addresses.broker}", folder / "file.bak")
        return token


def make(folder: Path) -> tuple[Path, int]:
    """The backup's file, and the token of the leased task."""
    return folder / "file.bak", asyncio.run(_make(folder))


def reader_of(path: Path) -> BackupReader:
    """Closed with the process."""
    return BackupReader(path.open("rb"))
