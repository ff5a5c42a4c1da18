"""A real port on 127.0.0.1 for the broker in memory: for programs that take nothing but a url."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import cast

from taskq.client.loop_thread import loop_thread
from taskq.testing.transport import Connects, Line

HOST = "127.0.0.1"


class Port:
    """Listens on the loop of the process's clients. `url` says where."""

    def __init__(self, broker: Connects) -> None:
        self._broker = broker
        self._connections: set[_Connection] = set()
        self._server = loop_thread().run(self._listen())
        self.url = f"taskq://{HOST}:{self._server.sockets[0].getsockname()[1]}"

    async def _listen(self) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        make = partial(_Connection, loop, self._broker, self._connections)
        return await loop.create_server(make, HOST, 0)

    def close(self) -> None:
        """Listens no more; open connections are closed."""
        loop_thread().run(self._close())

    async def _close(self) -> None:
        self._server.close()
        for connection in tuple(self._connections):
            connection.hang_up()
        await asyncio.sleep(0)  # transports close their sockets in the next round


class _Connection(asyncio.Protocol):
    """One connection from outside."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, broker: Connects, all_: set[_Connection]
    ) -> None:
        self._loop = loop
        self._broker = broker
        self._all = all_
        self._line: Line | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._all.add(self)
        self._line = self._broker.connect(
            partial(self._on_loop, self._transport.write),
            partial(self._on_loop, self._transport.close),
            self._later,
        )

    def data_received(self, data: bytes) -> None:
        assert self._line is not None
        self._line.receive(data)

    def connection_lost(self, exc: Exception | None) -> None:
        assert self._line is not None
        self._all.discard(self)
        self._line.lose()

    def hang_up(self) -> None:
        """Closes it, on the loop."""
        assert self._transport is not None
        self._transport.close()

    def _on_loop(self, act: Callable[..., None], *arguments: bytes) -> None:
        self._loop.call_soon_threadsafe(act, *arguments)

    def _later(self, secs: float, act: Callable[[], None]) -> None:
        self._loop.call_later(secs, act)
