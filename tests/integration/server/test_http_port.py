"""The monitoring port over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cluster.server import http_port
from cluster.server.health import Health
from cluster.server.http_port import HttpPort
from cluster.server.metrics import Metrics, probes
from tests.integration.server.sockets import listening


@pytest.fixture
async def port() -> AsyncIterator[tuple[HttpPort, int]]:
    async with listening() as broker:
        health = Health(broker.replica, 30.0)
        health.started = True
        metrics = Metrics(broker.replica, broker.server, lambda: 1)
        monitoring = HttpPort({"/metrics": metrics.page, **probes(health)})
        yield monitoring, await monitoring.start("127.0.0.1", 0)
        await monitoring.stop()


async def get(number: int, request: bytes) -> tuple[str, dict[str, str], bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", number)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return first, dict(line.split(": ", 1) for line in lines), body


async def test_metrics_and_probes(port: tuple[HttpPort, int]) -> None:
    first, headers, body = await get(port[1], b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert first == "HTTP/1.1 200 OK"
    assert int(headers["Content-Length"]) == len(body)
    names = {family.name for family in text_string_to_metric_families(body.decode())}
    assert {"tq_is_leader", "tq_tasks", "tq_connections", "process_cpu_seconds"} <= names
    for path in ("/livez", "/readyz", "/startupz", "/readyz?verbose"):
        assert (await get(port[1], f"GET {path} HTTP/1.0\r\n\r\n".encode()))[0].endswith("200 OK")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /nothing HTTP/1.1\r\n\r\n", "404"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", "405"),
        (b"HEAD /livez HTTP/1.1\r\n\r\n", "200"),
        (b"hello\r\n\r\n", "400"),
        (b"GET /livez SPDY/3\r\n\r\n", "400"),
        (b"\xff\xfe\r\n\r\n", "400"),
        (b"GET /" + b"x" * 10_000, "431"),
        (b"GET /livez HTTP/1.1\r\nX: " + b"x" * 10_000 + b"\r\n\r\n", "431"),
    ],
)
async def test_other_requests(port: tuple[HttpPort, int], request_: bytes, status: str) -> None:
    first, _, body = await get(port[1], request_)
    assert first.split()[1] == status
    assert (body == b"") == request_.startswith(b"HEAD")


async def test_slow_peers_and_crowds_do_not_hold_it(
    port: tuple[HttpPort, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_port, "CONNECTION_SECS", 0.3)
    slow = [
        await asyncio.open_connection("127.0.0.1", port[1])
        for _ in range(http_port.CONNECTION_COUNT_MAX + 5)
    ]
    await asyncio.sleep(0.05)
    assert len(port[0].connections) <= http_port.CONNECTION_COUNT_MAX
    await asyncio.sleep(0.5)
    assert len(port[0].connections) == 0
    assert (await get(port[1], b"GET /livez HTTP/1.1\r\n\r\n"))[0].endswith("200 OK")
    for _, writer in slow:
        writer.close()


async def test_a_page_that_fails_is_an_answer(port: tuple[HttpPort, int]) -> None:
    async def broken() -> http_port.Page:
        raise ValueError("a bug")

    port[0].pages["/broken"] = broken
    assert (await get(port[1], b"GET /broken HTTP/1.1\r\n\r\n"))[0].split()[1] == "500"
