"""A port that answers GET of a few paths: metrics and probes. Bounded, and closed to slow peers.

HTTP/1.1 as far as scrapers and probes need it: one request for a connection, headers ignored,
`Connection: close`. Runs in the node's loop; a page is made by a coroutine, so that a long one can
let others have their turn.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import cast

import structlog

from cluster.server.tls_port import PortRules, TlsPort
from taskq.limits import KIB

log = structlog.get_logger(__name__)

# A scraper's request is a few hundred bytes.
REQUEST_SIZE_MAX = 8 * KIB
# Prometheus, two probes, a person, and as many again.
CONNECTION_COUNT_MAX = 32
# From connection to the last byte of the answer.
CONNECTION_SECS = 10.0

# (status, content type, body)
Page = tuple[int, str, bytes]
PageMaker = Callable[[], Awaitable[Page]]

TEXT = "text/plain; charset=utf-8"
_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class HttpPort:
    """See the module. `pages`: path -> what makes the page."""

    def __init__(self, pages: dict[str, PageMaker]) -> None:
        self.pages = pages
        self.connections: dict[_Connection, None] = {}  # in the order of their coming
        self._listener: asyncio.Server | TlsPort | None = None

    async def start(
        self, host: str, port: int, context: Callable[[], ssl.SSLContext] | None = None
    ) -> int:
        """Listens, with TLS where there is a `context` for each handshake; the port that was taken,
        where `port` is 0. Raises OSError."""
        loop = asyncio.get_running_loop()
        if context is not None:
            answer = _packed((400, TEXT, b"this port speaks TLS: use https://\n"))
            setting = "monitoring.prometheus_port"
            rules = PortRules(setting, lambda: CONNECTION_COUNT_MAX, CONNECTION_SECS, answer)
            self._listener = TlsPort(context, lambda: _Connection(self), rules)
            return await self._listener.open(host, port)
        self._listener = await loop.create_server(lambda: _Connection(self), host, port)
        taken: int = self._listener.sockets[0].getsockname()[1]
        return taken

    def has_room(self) -> bool:
        """Makes room for one more, if need be by closing who has kept us waiting longest for a
        request: idle connections must not keep probes out."""
        if len(self.connections) < CONNECTION_COUNT_MAX:
            return True
        silent = next((each for each in self.connections if not each.has_asked), None)
        if silent is not None:
            self.connections.pop(silent)
            silent.abort()
        return silent is not None

    async def stop(self) -> None:
        """Closes the port and what is connected to it."""
        if self._listener is not None:
            self._listener.close()
        for connection in list(self.connections):
            connection.abort()


class _Connection(asyncio.Protocol):
    """One request and its answer."""

    def __init__(self, port: HttpPort) -> None:
        self._port = port
        self._head = b""
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not asyncio's, but have all of their methods.
        self._transport = cast(asyncio.Transport, transport)
        if not self._port.has_room():
            self._transport.abort()
            return
        self._port.connections[self] = None
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(CONNECTION_SECS, self._transport.abort)

    @property
    def has_asked(self) -> bool:
        """Whether its request has arrived."""
        return self._task is not None

    def data_received(self, data: bytes) -> None:
        if self._task is not None:
            return  # a second request, or a body: neither is asked for
        self._head += data
        if len(self._head) > REQUEST_SIZE_MAX:
            self._write((431, TEXT, b"request too large\n"), head_only=False)
        elif b"\r\n\r\n" in self._head or b"\n\n" in self._head:
            self._task = asyncio.create_task(self._answer(self._head))

    def connection_lost(self, exc: Exception | None) -> None:
        self._port.connections.pop(self, None)
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def _answer(self, head: bytes) -> None:
        method, _, rest = head.partition(b"\n")[0].decode("latin-1").strip().partition(" ")
        target, _, version = rest.partition(" ")
        if not version.startswith("HTTP/1."):
            page: Page = (400, TEXT, b"bad request\n")
        elif method not in ("GET", "HEAD"):
            page = (405, TEXT, b"only GET\n")
        else:
            page = await self._page(target.partition("?")[0])
        self._write(page, head_only=method == "HEAD")

    async def _page(self, path: str) -> Page:
        maker = self._port.pages.get(path)
        if maker is None:
            return 404, TEXT, f"there are: {' '.join(sorted(self._port.pages))}\n".encode()
        try:
            return await maker()
        except Exception:
            log.exception("a page could not be made", path=path)
            return 500, TEXT, b"the page could not be made; the log says why\n"

    def _write(self, page: Page, *, head_only: bool) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(_packed(page, head_only=head_only))
        transport.close()


def _packed(page: Page, *, head_only: bool = False) -> bytes:
    status, kind, body = page
    allow = "Allow: GET, HEAD\r\n" if status == 405 else ""
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\n{allow}Connection: close\r\n\r\n"
    )
    return head.encode() + (b"" if head_only else body)


def probe(question: Callable[[], str]) -> PageMaker:
    """A page that is 200 where `question` answers "", else 503 with the answer."""

    async def page() -> Page:
        missing = question()
        return (503, TEXT, f"{missing}\n".encode()) if missing else (200, TEXT, b"ok\n")

    return page
