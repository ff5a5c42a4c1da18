"""Starts and stops of a real node: alone on its folder, on its port, quickly, with nothing lost."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from pathlib import Path

import pytest

from chaos.live.node import LiveNode
from cluster.storage.batches import FORMAT, batch_key, newest_batch
from cluster.storage.database import Database
from taskq import AsyncClient, TaskqError
from tests.integration.node.filled import (
    Filled,
    assert_everything_is_there,
    assert_refused,
    assert_served,
    start,
)

# "SIGTERM stops within 2 s", with room for a machine that is busy with other tests.
STOP_SECS = 4.0


async def test_a_second_process_on_the_folder_is_refused(filled: Filled) -> None:
    with LiveNode(filled.home) as first, LiveNode(filled.home) as second:
        first.spawn()
        await first.serving()
        second.log = filled.home / "second.log"
        # A ready file of its own, too: the first one's must not be taken for it.
        second._ready = filled.home / "second.json"
        ended = await start(second)
        assert ended is not None, "two nodes serve one folder"
        assert ended.returncode == 1
        assert ended.secs < 10
        assert f"in use by process {first.pid}" in ended.why
        assert "persistence.data_dir" in ended.why
        assert first.running
        await assert_everything_is_there(first.url, filled)
        first.kill()
        await assert_served(filled)


async def test_a_taken_port_is_named_with_its_setting(filled: Filled) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with LiveNode(filled.home, port=port) as node:
            ended = await start(node)
            assert ended is not None
            assert ended.returncode == 1
            assert f"port {port} on 127.0.0.1 is taken" in ended.why
            assert "broker.port" in ended.why
            assert "Traceback" not in node.log_tail()
        settings = {"monitoring.prometheus_port": port}
        with LiveNode(filled.home, settings) as node:
            ended = await start(node)
            assert ended is not None
            assert "monitoring.prometheus_port" in ended.why
    await assert_served(filled)


@pytest.mark.parametrize("name", ["log", "state"])
async def test_records_of_a_newer_version_are_refused(filled: Filled, name: str) -> None:
    folder = filled.data / name
    database = Database.open(folder, create=False)
    number, record = newest_batch(database)
    database.write([(batch_key(number + 1), bytes([FORMAT + 1]) + record[1:])])
    database.close()
    ended = await assert_refused(
        filled, str(folder), f"format {FORMAT + 1}", "start the newer version"
    )
    assert "repair" not in ended.why, "what is newer is not damaged"


async def test_sigterm_under_load_stops_soon_and_loses_nothing(tmp_path: Path) -> None:
    acknowledged: set[str] = set()

    async def producer(client: AsyncClient) -> None:
        while True:
            try:
                handle = await client.submit("q", b"x" * 100, timeout=1)
            except TaskqError:
                return  # the node is gone
            acknowledged.add(str(handle.id))

    with LiveNode(tmp_path) as node:
        for _ in range(3):
            node.spawn()
            await node.serving()
            async with AsyncClient(node.url) as client:
                parked = asyncio.create_task(client.worker().claim(["none"], wait=60, timeout=1))
                producers = [asyncio.create_task(producer(client)) for _ in range(30)]
                await asyncio.sleep(0.7)
                before = len(acknowledged)
                stopping = asyncio.create_task(asyncio.to_thread(node.terminate))
                assert await stopping < STOP_SECS
                assert node.returncode == 0, node.log_tail()
                parked.cancel()
                await asyncio.gather(*producers)
            assert before > 30
            assert "Traceback" not in node.log_tail(100_000)
        node.spawn()
        await node.serving()
        async with AsyncClient(node.url) as client:
            found = {str(view.id) async for view in client.tasks()}
            assert acknowledged <= found


@pytest.mark.slow
async def test_a_start_that_is_killed_again_and_again_loses_nothing(filled: Filled) -> None:
    """At moments from before the folder is locked to just before it serves."""
    chance = random.Random(1)
    with LiveNode(filled.home) as node:
        for _ in range(12):
            node.spawn()
            while not node.has_folder() and node.running:  # noqa: ASYNC110  # a file
                await asyncio.sleep(0.0005)
            await asyncio.sleep(chance.uniform(0, 0.06))
            node.kill()
    await assert_served(filled)


async def test_it_serves_soon_after_a_kill(filled: Filled) -> None:
    """Python's own start included; on a machine that is busy with other tests."""
    with LiveNode(filled.home) as node:
        node.spawn()
        assert await node.serving() < 10
        async with AsyncClient(node.url) as client:
            await client.submit("q", b"x")
            assert time.monotonic() - node.spawned_at < 10
