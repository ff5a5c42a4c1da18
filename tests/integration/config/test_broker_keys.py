"""The group `broker`, key by key: what changes at the port when it is changed."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from cluster.node import CannotStart
from taskq import QueueFull, RequestRefused
from taskq.commands import ClaimTask, Ping
from taskq.errors import ErrorCode, Refusal
from taskq.limits import KIB, LEASE_MS_MIN
from taskq.results import TaskState
from tests.integration.config.live_node import Link, hello, running, until
from tests.integration.config.tested_keys import acts

WORKER = bytes(16)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def parked(number: int, queue: str = "empty", wait_ms: int = 300) -> ClaimTask:
    """A claim that is answered after `wait_ms`, as nothing is ever in its queue."""
    return ClaimTask(WORKER, number, 1, [queue], 1, wait_ms)


@acts("broker.host")
async def test_host_is_where_it_listens(tmp_path: Path) -> None:
    async with running(tmp_path, {"broker.host": "127.0.0.2"}) as node:
        assert node.addresses.broker.startswith("127.0.0.2:")
        await node.client.submit("q")
        port = int(node.addresses.broker.rpartition(":")[2])
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


@acts("broker.port")
async def test_port_is_where_it_listens_and_who_else_wants_it_is_told(tmp_path: Path) -> None:
    port = free_port()
    async with running(tmp_path / "one", {"broker.port": port}) as node:
        assert node.addresses.broker == f"127.0.0.1:{port}"
        await node.client.submit("q")
        with pytest.raises(CannotStart, match=rf"{port} .* taken .*: change broker\.port"):
            async with running(tmp_path / "two", {"broker.port": port}):
                pass


@acts("broker.advertise")
async def test_advertise_is_what_clients_are_told(tmp_path: Path) -> None:
    async with running(tmp_path / "with", {"broker.advertise": "queue.example:7000"}) as node:
        assert (await hello(node)).members == [["node1", "queue.example:7000"]]
    async with running(tmp_path / "without") as node:
        assert (await hello(node)).members == [["node1", node.addresses.broker]]


@acts("broker.max_connections")
async def test_one_connection_too_many_is_told_so(tmp_path: Path) -> None:
    async with running(tmp_path, {"broker.max_connections": 2}) as node:
        links = [await Link.open(node) for _ in range(3)]
        answers = [await link.greet() for link in links]
        assert [isinstance(answer, Refusal) for answer in answers] == [False, False, True]
        assert answers[2].code == ErrorCode.TOO_MANY_CONNECTIONS
        for link in links:
            link.close()


@acts("broker.max_requests_in_flight")
async def test_requests_beyond_the_limit_wait_unread(tmp_path: Path) -> None:
    async with running(tmp_path, {"broker.max_requests_in_flight": 1}) as node:
        assert (await hello(node)).requests_in_flight_max == 1
        link = await Link.open(node)
        await link.greet()
        # The Ping behind it could be answered at once, but has to wait for the claim's answer.
        assert await link.first_answered(parked(1), Ping()) == 0
        link.close()
    async with running(tmp_path, {"broker.max_requests_in_flight": 2}) as node:
        link = await Link.open(node)
        await link.greet()
        assert await link.first_answered(parked(1), Ping()) == 1
        link.close()


@acts("broker.max_bytes_in_flight")
async def test_bytes_beyond_the_limit_wait_unread(tmp_path: Path) -> None:
    def large(number: int) -> ClaimTask:
        names = [f"{place:0>200}" for place in range(100)]
        return ClaimTask(WORKER, number, 1, names, 1, 300)

    claims = [large(number) for number in range(1, 6)]  # 20 KB each
    async with running(tmp_path, {"broker.max_bytes_in_flight": "64KiB"}) as node:
        link = await Link.open(node)
        await link.greet()
        assert await link.first_answered(*claims, Ping()) < len(claims)
        link.close()
    async with running(tmp_path, {"broker.max_bytes_in_flight": "1MiB"}) as node:
        link = await Link.open(node)
        await link.greet()
        assert await link.first_answered(*claims, Ping()) == len(claims)
        link.close()


@acts("broker.connection_timeout_secs")
async def test_a_silent_connection_is_closed_in_time(tmp_path: Path) -> None:
    async with running(tmp_path, {"broker.connection_timeout_secs": 1}) as node:
        assert (await hello(node)).idle_timeout_ms == 1000
        link = await Link.open(node)
        await link.greet()
        with pytest.raises(EOFError):
            await asyncio.wait_for(link.reply(), 10)
        link.close()


@acts("broker.queue_depth_threshold")
async def test_a_task_too_many_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path, {"broker.queue_depth_threshold": 2}) as node:
        await node.client.submit("a")
        await node.client.submit("b", delay=1000)
        with pytest.raises(QueueFull):
            await node.client.submit("c")


@acts("broker.queue_bytes_threshold")
async def test_a_byte_too_many_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path, {"broker.queue_bytes_threshold": "64KiB"}) as node:
        await node.client.submit("q", bytes(60 * KIB))
        with pytest.raises(QueueFull):
            await node.client.submit("q", bytes(60 * KIB))


@acts("broker.worker_lease_timeout_secs")
async def test_a_lease_ends_when_it_says(tmp_path: Path) -> None:
    secs = LEASE_MS_MIN / 1000
    async with running(tmp_path, {"broker.worker_lease_timeout_secs": secs}) as node:
        await node.client.submit("q")
        (first,) = await node.worker().claim(["q"])
        assert first.lease_ms == LEASE_MS_MIN
        (second,) = await node.worker().claim(["q"], wait=10)
        assert second.task_id == first.task_id
        assert second.token > first.token


@acts("broker.max_batch_claim")
async def test_a_claim_gets_no_more_than_the_batch(tmp_path: Path) -> None:
    async with running(tmp_path, {"broker.max_batch_claim": 3}) as node:
        await node.client.submit_many([{"queue": "q"} for _ in range(5)])
        assert len(await node.worker().claim(["q"], 100)) == 3


@acts("broker.max_lease_expiries")
@pytest.mark.parametrize(("most", "state"), [(0, TaskState.DEAD), (1, TaskState.READY)])
async def test_expiries_beyond_the_limit_are_death(
    tmp_path: Path, most: int, state: TaskState
) -> None:
    async with running(tmp_path, {"broker.max_lease_expiries": most}) as node:
        handle = await node.client.submit("q")
        await node.worker().claim(["q"], lease=LEASE_MS_MIN / 1000)

        async def ended() -> bool:
            return (await node.client.status(handle.id)).state != TaskState.LEASED

        await until(ended, "the end of the lease")
        assert (await node.client.status(handle.id)).state == state


@acts("broker.payload_size_max")
async def test_a_payload_too_large_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path, {"broker.payload_size_max": "1KiB"}) as node:
        assert (await hello(node)).payload_size_max == KIB
        await node.client.submit("q", bytes(KIB))
        await refused(node.client.submit("q", bytes(KIB + 1)), ErrorCode.PAYLOAD_TOO_LARGE)


@acts("broker.result_size_max")
async def test_a_result_too_large_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path, {"broker.result_size_max": "1KiB"}) as node:
        assert (await hello(node)).result_size_max == KIB
        await node.client.submit("q")
        worker = node.worker()
        (task,) = await worker.claim(["q"])
        await refused(worker.complete(task, bytes(KIB + 1)), ErrorCode.RESULT_TOO_LARGE)
        assert await worker.complete(task, bytes(KIB)) == TaskState.COMPLETED


async def refused(call: Any, code: ErrorCode) -> None:
    with pytest.raises(RequestRefused) as raised:
        await call
    assert raised.value.code == code
