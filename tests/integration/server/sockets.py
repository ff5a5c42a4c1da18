"""A server with real sockets on 127.0.0.1 over a replica in memory, and a plain client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from cluster.server.access import Access
from cluster.server.quota import Quota
from cluster.server.tcp import BrokerServer
from taskq.protocol.codec import Push
from taskq.protocol.connection import ClientConnection
from tests.unit.server.memory_replica import MemoryReplica


class Client:
    """One connection: `send` pipelines, `answer` waits for one answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.connection = ClientConnection()
        self.answers: dict[int, Any] = {}
        self.order: list[int] = []
        self.pushes: list[Any] = []

    async def read(self) -> bool:
        """Takes in what comes next; false at the end."""
        data = await self.reader.read(262_144)
        for event in self.connection.receive(data):
            if isinstance(event, Push):
                self.pushes.append(event.command)
            else:
                self.answers[event.request_id] = event.value
                self.order.append(event.request_id)
        return bool(data)

    def send(self, *asked: Any, deadline_ms: int = 0) -> list[int]:
        pairs = [self.connection.request(command, deadline_ms) for command in asked]
        self.writer.write(b"".join(frame for _, frame in pairs))
        return [request_id for request_id, _ in pairs]

    async def answer(self, request_id: int) -> Any:
        while request_id not in self.answers:
            assert await self.read(), "the server closed the connection"
        return self.answers[request_id]

    async def ask(self, command: Any) -> Any:
        (request_id,) = self.send(command)
        return await self.answer(request_id)

    async def ended(self) -> None:
        """Waits for the server to close."""
        try:
            while await self.read():
                pass
        except ConnectionError:
            pass

    def close(self) -> None:
        self.writer.transport.abort()


class Port:
    """A listening server."""

    def __init__(self, server: BrokerServer, replica: MemoryReplica, port: int) -> None:
        self.server, self.replica, self.port = server, replica, port
        self.clients: list[Client] = []

    async def connect(self, *, greet: bool = True, **how: Any) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port, **how))
        self.clients.append(client)
        if greet:
            client.writer.write(client.connection.greet("test", None))
            await client.answer(1)
        return client


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110  # nothing tells a test
        await asyncio.sleep(0.01)


@asynccontextmanager
async def listening(**quota: Any) -> AsyncIterator[Port]:
    loop = asyncio.get_running_loop()
    replica = MemoryReplica(loop)
    server = BrokerServer(replica, Access(enabled=False), Quota(**quota))
    port = Port(server, replica, await server.start("127.0.0.1", 0))
    try:
        yield port
    finally:
        for client in port.clients:
            client.close()
        await server.stop(grace_secs=0.1)
