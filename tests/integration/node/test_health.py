"""Probes of real nodes: while they start, with a full disk, a disk that hangs, without a quorum."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from chaos.live.cluster import LiveCluster
from chaos.live.node import LiveNode, free_port
from cluster.config import load_config
from cluster.node import Addresses, serve
from cluster.storage.recovery import Recovery
from cluster.watched_files import WatchedFiles
from taskq import AsyncClient
from tests.integration.chaos.disk_writer import shimmed
from tests.integration.config.live_node import LOCAL, running
from tests.integration.probes import asked, until

# A node that is not alive is seen so much after the limit at most: looks are 0.5 s apart.
LATE_SECS = 3.0


async def test_a_start_can_be_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The port answers while the folder is read, in a thread, and says how far that is."""
    async with running(tmp_path) as first:
        await first.client.submit("q", b"")
    goes_on, begun = threading.Event(), threading.Event()
    begin = Recovery.begin

    def slowly(recovery: Recovery, step: str, total: int = 0) -> None:
        begin(recovery, step, total)
        if step == "examining the log":
            begun.set()
            goes_on.wait(20)

    monkeypatch.setattr(Recovery, "begin", slowly)
    port = free_port()
    folder = tmp_path / "data"
    settings = {**LOCAL, "persistence.data_dir": folder, "monitoring.prometheus_port": port}
    loop = asyncio.get_running_loop()
    stop, ready = asyncio.Event(), loop.create_future()
    files = WatchedFiles(loop)
    node = asyncio.create_task(
        serve(load_config(None, {}, settings), ready.set_result, stop, files)
    )
    address = f"127.0.0.1:{port}"
    assert await asyncio.to_thread(begun.wait, 10)
    assert await asked(address, "/livez") == (200, "ok")
    status, text = await asked(address, "/startupz")
    assert (status, text.startswith("examining the log: 0 of ")) == (503, True), text
    status, text = await asked(address, "/readyz")
    assert (status, text.startswith("starting: examining")) == (503, True), text
    assert await asked(address, "/metrics") == (503, "starting")
    goes_on.set()
    addresses: Addresses = await asyncio.wait_for(ready, 20)
    assert addresses.monitoring == address
    await until(address, "/startupz", 200, 5)
    assert await asked(address, "/readyz") == (200, "ok"), "a leader is ready when it serves"
    stop.set()
    assert await node == 0
    with pytest.raises(ConnectionRefusedError):
        await asked(address, "/livez")


async def test_a_full_disk_is_no_place_for_more_and_no_death(tmp_path: Path) -> None:
    full: dict[str, Any] = {"persistence.disk_reserve_bytes": "1 TiB"}
    async with running(tmp_path, full) as node:
        address = node.addresses.monitoring
        status, text = await asked(address, "/readyz")
        assert (status, "persistence.disk_reserve_bytes" in text) == (503, True), text
        assert await asked(address, "/livez") == (200, "ok")
        assert await asked(address, "/startupz") == (200, "ok")


@pytest.mark.slow
async def test_a_stalled_disk_is_a_wedge_until_it_answers(tmp_path: Path) -> None:
    shimmed(tmp_path / "probe")  # skips where nothing can be compiled
    with LiveNode(tmp_path, {"monitoring.stall_limit_secs": 2}) as node:
        disk = node.equip()
        node.spawn()
        await node.serving()
        address = node.addresses()["monitoring"]
        async with AsyncClient(node.url) as client:
            await client.submit("q", b"")
            disk.stall()
            submit = asyncio.create_task(client.submit("q", b""))
            secs, why = await until(address, "/livez", 503, 2 + LATE_SECS)
            assert "does not end" in why
            assert secs >= 2
            assert not submit.done()
            disk.heal()
            await submit
        await until(address, "/livez", 200, LATE_SECS)


@pytest.mark.slow
async def test_without_a_quorum_nobody_is_dead(tmp_path: Path) -> None:
    with LiveCluster(tmp_path, 3, {"monitoring.stall_limit_secs": 1}) as cluster:
        cluster.start()
        await cluster.whole()
        (left, *others) = cluster.nodes
        address = cluster.nodes[left].addresses()["monitoring"]
        await until(address, "/readyz", 200, 10)
        cluster.kill(*others)
        began = time.monotonic()
        _, why = await until(address, "/readyz", 503, 10)
        assert why == "no leader is known"
        while time.monotonic() - began < 6:
            assert await asked(address, "/livez") == (200, "ok")
            await asyncio.sleep(0.2)
        cluster.start(others)
        await until(address, "/readyz", 200, 10)
