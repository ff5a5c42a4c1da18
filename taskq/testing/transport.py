"""How a client reaches the broker in memory: the client's own code, but for the one place where it
opens a socket."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

from taskq.client.address import Address
from taskq.client.asynchronous import AsyncClient
from taskq.client.blocking import Client
from taskq.client.channel import Channel
from taskq.client.connection import Connection
from taskq.client.dial import Dialer
from taskq.client.link import Link
from taskq.client.moment import Duration, seconds_of

# Never dialled, but the client wants one, and shows it.
URL = "taskq://in-memory"


class Line(Protocol):
    """The broker's end of a connection, as `Broker.connect` gives it. Called from any thread."""

    def receive(self, data: bytes) -> None:
        """Bytes of the client."""

    def lose(self) -> None:
        """The client has hung up."""


class Connects(Protocol):
    """What a client needs of the broker."""

    def connect(
        self,
        send: Callable[[bytes], None],
        hang_up: Callable[[], None],
        later: Callable[[float, Callable[[], None]], None],
    ) -> Line: ...


class MemoryTransport(asyncio.Transport):
    """The client's end of a connection. The broker may answer from any thread; the protocol hears
    of it on its loop, never from inside `write`."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, protocol: asyncio.Protocol, broker: Connects
    ) -> None:
        super().__init__()
        self._loop = loop
        self._protocol = protocol
        self._arrived: deque[bytes | None] = deque()  # None: the broker hangs up
        self._closing = False
        self._lost = False
        self._line = broker.connect(self._arrive, partial(self._arrive, None), self._later)
        protocol.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """The broker has carried it out when this returns."""
        if not self._closing:
            self._line.receive(bytes(data))

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        if not self._closing:
            self._closing = True
            self._line.lose()
            self._loop.call_soon(self._lose)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There is no buffer."""

    def get_write_buffer_size(self) -> int:
        return 0

    def _arrive(self, data: bytes | None) -> None:
        self._arrived.append(data)
        if len(self._arrived) == 1 and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._hand_over)

    def _hand_over(self) -> None:
        data = b""
        ended = False
        while self._arrived:
            chunk = self._arrived.popleft()
            ended = ended or chunk is None
            data += chunk or b""
        if data and not self._closing:
            self._protocol.data_received(data)
        if ended:
            self.abort()

    def _later(self, secs: float, act: Callable[[], None]) -> None:
        self._loop.call_later(secs, act)

    def _lose(self) -> None:
        if not self._lost:
            self._lost = True
            self._protocol.connection_lost(None)


class MemoryChannel(Channel):
    """A client's channel whose links reach one broker in memory."""

    def __init__(self, broker: Connects, timeout: float, name: str | None) -> None:
        super().__init__(URL, timeout, name, None)
        self._broker = broker

    def _new_link(self) -> Link:
        link = super()._new_link()
        dialer = link._dialer
        dialer.connect = partial(_connect, self._broker, dialer)  # type: ignore[method-assign]
        return link


async def _connect(
    broker: Connects, dialer: Dialer, address: Address, seconds: float
) -> Connection:
    """In place of `Dialer.connect`."""
    connection = dialer._make()
    connection.address = address
    MemoryTransport(asyncio.get_running_loop(), connection, broker)
    dialer.learn(await connection.opened)
    return connection


class MemoryAsyncClient(AsyncClient):
    """An `AsyncClient` of a broker in memory. Made by `Broker.async_client`."""

    def __init__(self, broker: Connects, timeout: Duration, name: str | None) -> None:
        super().__init__(URL, timeout=timeout, name=name)
        self.channel = MemoryChannel(broker, seconds_of(timeout, "timeout"), name)


class MemoryClient(Client):
    """A `Client` of a broker in memory. Made by `Broker.client`."""

    def __init__(self, broker: Connects, timeout: Duration, name: str | None) -> None:
        self.core = MemoryAsyncClient(broker, timeout, name)
