"""A real node in this process, on free ports, with the settings of one test; and how to look at it
from outside: a client, a bare connection, the monitoring port.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cluster.config import load_config
from cluster.node import Addresses, serve
from cluster.watched_files import WatchedFiles
from taskq import AsyncClient
from taskq.client.worker_session import AsyncWorkerSession
from taskq.protocol.codec import Reply
from taskq.protocol.connection import ClientConnection
from taskq.results import HelloReply

LOCAL = {"broker.host": "127.0.0.1", "broker.port": 0, "monitoring.prometheus_port": 0}
# Far beyond what anything here takes: a node that does not answer fails its test.
PATIENCE_SECS = 20.0
POLL_SECS = 0.02


class Node:
    """A running node: `addresses`, a `client` of it, and `stop`, which ends it."""

    def __init__(self, addresses: Addresses, client: AsyncClient, stop: asyncio.Event) -> None:
        self.addresses = addresses
        self.client = client
        self.stop = stop

    def worker(self) -> AsyncWorkerSession:
        """A worker's side of the protocol, unknown to the node yet."""
        return self.client.worker(name="test")

    async def metrics(self) -> str:
        """The text of /metrics."""
        host, _, port = self.addresses.monitoring.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n")
        text = (await reader.read()).decode()
        writer.close()
        return text


@asynccontextmanager
async def running(folder: Path, given: Mapping[str, Any] | None = None) -> AsyncIterator[Node]:
    """A node with its data below `folder`; `given` are settings by path. Stopped at the end."""
    settings = {**LOCAL, "persistence.data_dir": folder / "data", **(given or {})}
    config = load_config(None, {}, settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[Addresses] = loop.create_future()
    node = asyncio.create_task(serve(config, ready.set_result, stop, WatchedFiles(loop)))
    await asyncio.wait([node, ready], return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE_SECS)
    if node.done():
        node.result()  # CannotStart
    addresses = ready.result()
    try:
        async with AsyncClient(f"taskq://{addresses.broker}", timeout=5) as client:
            yield Node(addresses, client, stop)
    finally:
        stop.set()
        assert await node == 0


class Link:
    """A bare connection: frames as they come, in the order in which they come."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._connection = ClientConnection()
        self._replies: list[Reply] = []

    @classmethod
    async def open(cls, node: Node) -> Link:
        """Connected, and nothing said yet."""
        host, _, port = node.addresses.broker.rpartition(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    async def greet(self, key: str | None = None) -> Any:
        """Says Hello: the reply, or the refusal."""
        self._writer.write(self._connection.greet("test", key))
        return (await self.reply()).value

    def send(self, command: Any) -> int:
        """Sends a request; its id."""
        request_id, frame = self._connection.request(command)
        self._writer.write(frame)
        return request_id

    async def reply(self) -> Reply:
        """The next answer. Raises EOFError where the node closed the connection."""
        while not self._replies:
            data = await asyncio.wait_for(self._reader.read(65536), PATIENCE_SECS)
            if not data:
                raise EOFError("closed by the node")
            events = self._connection.receive(data)
            self._replies += [event for event in events if isinstance(event, Reply)]
        return self._replies.pop(0)

    async def first_answered(self, *commands: Any) -> int:
        """Sends all at once; the position of the one that is answered first."""
        ids = [self.send(command) for command in commands]
        return ids.index((await self.reply()).request_id)

    def close(self) -> None:
        """Hangs up."""
        self._writer.close()


async def hello(node: Node) -> HelloReply:
    """What the node says of itself."""
    link = await Link.open(node)
    reply = await link.greet()
    link.close()
    assert isinstance(reply, HelloReply), reply
    return reply


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Waits until a condition holds; fails the test where it never does."""
    deadline = time.monotonic() + PATIENCE_SECS
    while not await condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        await asyncio.sleep(POLL_SECS)
