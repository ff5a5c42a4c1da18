"""What a broken or hostile node can do to a client: cost it a connection, and little memory."""

from __future__ import annotations

import os
import struct
import time
import tracemalloc

import msgpack
import pytest

from taskq import AsyncClient, ConnectionFailed, OutcomeUnknown
from taskq import commands as c
from tests.integration.client.scripted_node import Raw, ScriptedNode, settled


def frame(kind: int, value: object) -> bytes:
    payload = msgpack.packb(value)
    return struct.pack(">IB", len(payload) + 1, kind) + payload


GARBAGE = {
    "random bytes": os.urandom(2_000) + b"\xff" * 8,
    "an oversized length": struct.pack(">IB", 0xFFFF_FFFF, 0x90) + b"x" * 100,
    "no length": b"\0" * 64,
    "not msgpack": struct.pack(">IB", 4, 0x90) + b"\xc1\xc1\xc1",
    "deep nesting": struct.pack(">IB", 50_001, 0x90) + b"\x91" * 50_000,
    "another format": frame(0x90, [9, 2, [b"i" * 16]]),
    "an unknown type": frame(0xF7, [1, 2, []]),
    "fields missing": frame(0x90, [1, 2, []]),
    "fields of other types": frame(0x90, [1, 2, ["text"]]),
    "an answer to nothing": frame(0x90, [1, 4_711, [b"i" * 16]]),
    "another kind of answer": frame(0x91, [1, 2, [[]]]),
    "a refusal of wrong types": frame(0xFF, [1, 2, [1, 2, "x", 0]]),
    "a push to nobody": frame(0x70, [1, ["x"]]),
    "a second hello": frame(0x81, [1, 1, [1, "", "", "", 0, [], "", 1, 1, 1, 1, 1, 1]]),
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_costs_a_connection_and_no_task(data):
    async with ScriptedNode() as node, AsyncClient(node.url, timeout=5) as client:
        node.script = lambda command: Raw(data) if node.connection_count == 1 else None
        handle = await client.submit("q")
        assert list(node.tasks) == [handle.id.bytes]
        assert node.connection_count == 2


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_instead_of_a_greeting(data):
    async with ScriptedNode() as bad, ScriptedNode() as good:
        bad.greeting = data
        url = f"taskq://{bad.address},{good.address}"
        async with AsyncClient(url, timeout=5) as client:
            await client.submit("q")
            assert len(good.tasks) == 1


async def test_a_greeting_without_sense_is_a_failed_connection():
    async with ScriptedNode() as node, AsyncClient(node.url, timeout=0.3) as client:
        node.greeting = frame(0x81, [1, 1, [1, 2, 3]])
        with pytest.raises(ConnectionFailed, match=str(node.port)):
            await client.ping()


async def test_a_node_that_always_sends_garbage_is_not_run_against():
    async with ScriptedNode() as node, AsyncClient(node.url, timeout=1) as client:
        node.script = lambda command: Raw(GARBAGE["not msgpack"])
        with pytest.raises(OutcomeUnknown):
            await client.submit("q")
        # Without a back-off it would be thousands.
        assert 2 <= node.connection_count < 40


async def test_half_a_frame_and_then_nothing():
    async with ScriptedNode(idle_timeout_ms=1_000) as node, AsyncClient(node.url) as client:
        half = frame(0x90, [1, 2, [b"i" * 16]])[:-3]
        node.script = lambda command: Raw(half) if node.connection_count == 1 else None
        started = time.perf_counter()
        await client.submit("q", timeout=5)
        assert time.perf_counter() - started < 2


async def test_a_flood_holds_no_more_than_a_frame():
    async with ScriptedNode(idle_timeout_ms=1_000) as node, AsyncClient(node.url) as client:
        await client.ping()
        (peer,) = node.peers
        tracemalloc.start()
        try:
            # The head promises 16 MiB; far more than that follows, a piece at a time.
            peer.transport.write(struct.pack(">IB", 16 << 20, 0x90))
            for _ in range(40):
                if peer.transport.is_closing():
                    break
                peer.transport.write(b"\x91" * (1 << 20))
                await settled(
                    lambda: (
                        peer.transport.is_closing() or not peer.transport.get_write_buffer_size()
                    )
                )
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert most < 64 << 20
        await client.submit("q", timeout=5)


async def test_pushes_without_a_worker_are_dropped():
    async with ScriptedNode() as node, AsyncClient(node.url) as client:
        await client.ping()
        for _ in range(1_000):
            node.push(c.CancelRequested(b"i" * 16, 1))
        await client.ping()
        assert node.connection_count == 1
