"""An app that is dropped is closed by whoever collects it, without waiting for anything."""

from __future__ import annotations

import gc
import threading

import taskq
from taskq.client.loop_thread import loop_thread
from taskq.commands import Ping


def test_an_app_collected_on_the_loop_of_its_client_waits_for_nothing() -> None:
    """Collecting may happen in any thread: that of the loop can never wait for the loop."""
    apps = [taskq.App(url="taskq://127.0.0.1:1")]
    link = []

    async def connect() -> None:
        channel = apps[0].client.core.channel
        channel.send(Ping()).cancel()
        link.append(channel._link)

    loop_thread().run(connect())
    collected = threading.Event()

    def collect() -> None:
        apps.clear()
        gc.collect()
        collected.set()

    loop_thread().loop.call_soon_threadsafe(collect)
    assert collected.wait(10)

    async def closed() -> bool:
        return link[0] is not None and link[0].closed

    assert loop_thread().run(closed())
