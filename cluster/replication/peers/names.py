"""Where a peer is: its address as text, looked up anew at every dial (A13)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

# (family, socket address)
Place = tuple[int, tuple[Any, ...]]
# Looks up (host, port). Raises OSError where the name is not known.
Resolver = Callable[[str, int], Awaitable[list[Place]]]


def parse_address(address: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT` or `[IPV6]:PORT`. Raises ValueError."""
    host, _, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not (host and port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
        raise ValueError(f"{address!r} is not HOST:PORT")
    return host, int(port)


async def look_up(host: str, port: int) -> list[Place]:
    """Asks the system, which may take as long as it likes. Raises OSError."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(f"{host!r} is no host name") from error
    return [(family, address) for family, _, _, _, address in found]


class Names:
    """Looks names up, at most once at a time for each: a look-up blocks a thread of the pool and
    cannot be called off, so that a dead name server would use them all up."""

    def __init__(self, resolver: Resolver = look_up) -> None:
        self._resolver = resolver
        self._pending: dict[tuple[str, int], asyncio.Future[list[Place]]] = {}

    async def places(self, host: str, port: int) -> list[Place]:
        """Where the name is now. Raises OSError."""
        key = (host, port)
        pending = self._pending.get(key)
        if pending is None:
            pending = asyncio.ensure_future(self._resolver(host, port))
            self._pending[key] = pending
            pending.add_done_callback(lambda done: self._forget(key, done))
        # Who waits may give up; the look-up goes on, and the next dial joins it.
        return await asyncio.shield(pending)

    def _forget(self, key: tuple[str, int], done: asyncio.Future[list[Place]]) -> None:
        self._pending.pop(key, None)
        if not done.cancelled():
            done.exception()  # looked at, so that nobody is told that it was not

    def stop(self) -> None:
        """Waits for no look-up any more."""
        for pending in self._pending.values():
            pending.cancel()
