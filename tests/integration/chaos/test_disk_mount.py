"""A node on a file system of its own that is really full, and then is not."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.live.node import LiveNode
from taskq import AsyncClient
from taskq.errors import TaskqError
from taskq.limits import MIB

pytestmark = pytest.mark.root

SIZE, LARGER, RESERVE = 192 * MIB, 384 * MIB, 64 * MIB
PATIENCE_SECS = 20.0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A mounted file system of `SIZE` bytes."""
    if os.geteuid():
        pytest.skip("a mount needs root")
    place = tmp_path / "data"
    place.mkdir()
    mount("-t", "tmpfs", "-o", f"size={SIZE}", "taskq", place)
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def mount(*words: str | Path) -> None:
    subprocess.run(["mount", *words], check=True)


async def write_on(client: AsyncClient) -> None:
    """Small entries that are never refused for want of room, and make none."""
    while True:
        await client.pause_queue("q", timeout=0.5)
        await client.resume_queue("q", timeout=0.5)


def fill_up(place: Path) -> Path:
    """Takes all room that is left; the file that does."""
    path = place / "filler"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(65_536))
        except OSError:
            pass
    return path


class Submitter:
    """Submits one task after the other and notes what was acknowledged."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self.acknowledged: set[str] = set()

    async def one(self) -> bool:
        """Whether it was taken."""
        try:
            handle = await self._client.submit("q", os.urandom(60_000), timeout=0.5)
        except TaskqError:
            return False
        self.acknowledged.add(str(handle.id))
        return True

    async def until(self, *, taken: bool) -> None:
        deadline = time.monotonic() + PATIENCE_SECS
        while await self.one() is not taken:
            assert time.monotonic() < deadline, f"never {'taken' if taken else 'refused'}"
            await asyncio.sleep(0)


async def held(client: AsyncClient) -> set[str]:
    return {str(view.id) async for view in client.tasks()}


async def test_a_disk_that_is_really_full_loses_nothing_and_is_used_again(
    small_disk: Path, tmp_path: Path
) -> None:
    with LiveNode(tmp_path, {"persistence.disk_reserve_bytes": RESERVE}) as node:
        node.spawn()
        await node.serving()
        async with AsyncClient(node.url) as client:
            submitter = Submitter(client)
            await submitter.until(taken=True)
            await submitter.until(taken=False)
            first = min(submitter.acknowledged)
            assert (await client.cancel(first)).state.name == "CANCELLED", "what drains goes on"
            filler = fill_up(small_disk)
            with pytest.raises(TaskqError):  # until nothing at all can be written
                await write_on(client)
            assert node.running, node.log_tail()
            assert "disk failed" in node.log_tail(20_000)
            filler.unlink()
            remount = f"remount,size={LARGER}"
            await asyncio.to_thread(mount, "-o", remount, small_disk)
            await submitter.until(taken=True)
            assert submitter.acknowledged <= await held(client)
        node.kill()
        node.spawn()
        await node.serving()
        async with AsyncClient(node.url) as client:
            assert submitter.acknowledged <= await held(client)
