"""A port that speaks TLS: who comes, whether TLS is what they speak, and the handshake.

    accepted --first byte--> handshake --> handed over (its protocol begins)
         |                       |
         +-- no TLS: told so     +-- refused, slow, crowded out: closed

The first byte is looked at, not taken: of TLS it is 22, of no frame and no HTTP request. So whoever
speaks in the clear hears why it is closed, in words of the port's own protocol. The context is
asked for at each handshake, and so are the limits: a connection that has shown nothing costs a
socket and a timer, no TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import NamedTuple

import structlog

from cluster.listening import listen
from taskq.limits import KIB

log = structlog.get_logger(__name__)

# The first byte of a TLS connection: the content type "handshake" (RFC 8446, section 5.1).
TLS_HANDSHAKE = b"\x16"
# A burst of connections after a restart waits here instead of being refused by the kernel.
BACKLOG = 1024
# Where as many shake hands as may, one gives way once it has had this time: the oldest of those
# that have not said a byte, else the oldest. Until then newer ones wait in the kernel. So an honest
# crowd gets in, and a silent one keeps nobody out for long. Seconds.
SILENT_SECS = 0.2
CROWDED_SECS = 1.0
# No descriptor was free, or a connection broke before it was taken: try again soon. Seconds.
ACCEPT_PAUSE_SECS = 0.05
# One line about connections that failed in so many seconds, with the number of the others.
LOG_SECS = 10.0
# How much of what came in the clear is taken, so that closing does not take the answer with it.
DRAIN_SIZE = 65_536
# What a TLS transport ever read at once it keeps room for, twice, until it ends: so this bounds
# what a connection costs, as SO_RCVBUF (which Linux doubles). Of strangers, and of who is known.
STRANGER_READ_SIZE = 16 * KIB
KNOWN_READ_SIZE = 64 * KIB

PLAIN, TLS_FAILED, SLOW, CROWDED = "no tls", "tls failed", "slow tls", "crowded"
_TEXTS = {
    PLAIN: "a connection was closed: it spoke in the clear to a port that speaks TLS",
    TLS_FAILED: "a connection was closed: TLS failed on it",
    SLOW: "a connection was closed: its TLS handshake took too long",
    CROWDED: "a connection was closed: too many shake hands",
    "accept": "the port cannot take a connection",
}


class PortRules(NamedTuple):
    """What a TLS port is told: `setting` names the port in logs, `count_max()` how many may shake
    hands at once, `secs` is their time, `plain_answer` what a client in the clear is told."""

    setting: str
    count_max: Callable[[], int]
    secs: float
    plain_answer: bytes


class _Guest:
    """A connection that is not through."""

    __slots__ = ("address", "crowded_out", "since", "spoke", "stream")

    def __init__(self, stream: socket.socket, address: str, since: float) -> None:
        self.stream = stream
        self.address = address
        self.since = since
        self.spoke = False
        self.crowded_out = False


class TlsPort:
    """See the module. `context()` is the server's side of TLS now, `make()` the protocol of a
    connection that is through. `dropped(kind)` is told of each that is not."""

    def __init__(
        self,
        context: Callable[[], ssl.SSLContext],
        make: Callable[[], asyncio.Protocol],
        rules: PortRules,
        dropped: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._context = context
        self._make = make
        self._rules = rules
        self._dropped = dropped
        self._loop = asyncio.get_running_loop()
        self._listeners: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._guests: dict[asyncio.Task[None], _Guest] = {}  # the oldest first
        self._logged_at = float("-inf")
        self._unlogged = 0

    async def open(self, host: str, port: int) -> int:
        """Listens on every address of `host`; the port that was taken, where `port` is 0.

        Raises OSError."""
        places = await self._loop.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        found = dict.fromkeys((one[0], one[4]) for one in places)
        self._listeners = listen(found, port, BACKLOG)
        for listener in self._listeners:  # the largest window of what they accept
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KNOWN_READ_SIZE)
        self._accepting = [self._loop.create_task(self._accept(one)) for one in self._listeners]
        for task in self._accepting:
            task.add_done_callback(_told)
        return int(self._listeners[0].getsockname()[1])

    def close(self) -> None:
        """Takes no more connections; handshakes under way are broken off."""
        for task in (*self._accepting, *self._guests):
            task.cancel()
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()

    @property
    def guest_count(self) -> int:
        """Connections that are not through."""
        return len(self._guests)

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            await self._make_room()
            try:
                stream, address = await self._loop.sock_accept(listener)
            except OSError as error:
                self._note("accept", "", str(error))
                await asyncio.sleep(ACCEPT_PAUSE_SECS)
                continue
            stream.setblocking(False)
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, STRANGER_READ_SIZE)
            guest = _Guest(stream, f"{address[0]}:{address[1]}", self._loop.time())
            task = self._loop.create_task(self._welcome(guest))
            self._guests[task] = guest
            task.add_done_callback(self._guests.pop)

    async def _make_room(self) -> None:
        while len(self._guests) >= max(1, self._rules.count_max()):
            guests = self._guests.items()
            silent = ((task, guest) for task, guest in guests if not guest.spoke)
            task, guest = next(silent, None) or next(iter(guests))
            secs = CROWDED_SECS if guest.spoke else SILENT_SECS
            left = guest.since + secs - self._loop.time()
            if left <= 0:
                guest.crowded_out = True
                task.cancel()
                left = CROWDED_SECS
            await asyncio.wait(self._guests, timeout=left, return_when=asyncio.FIRST_COMPLETED)

    async def _welcome(self, guest: _Guest) -> None:
        """All that happens to a connection until it is through, or gone."""
        through = False
        try:
            async with asyncio.timeout(self._rules.secs):
                first = await self._peek(guest)
                if first == TLS_HANDSHAKE:
                    await self._shake_hands(guest.stream)
                    through = True
                elif first:
                    self._turn_down(guest)
        except asyncio.CancelledError:
            if not guest.crowded_out:
                raise
            self._note(CROWDED, guest.address, "the oldest gives way")
        except TimeoutError:
            self._note(SLOW, guest.address, f"not within {self._rules.secs:g} s")
        except OSError as error:  # ssl.SSLError is one
            self._note(TLS_FAILED, guest.address, reason_of(error))
        finally:
            if not through:
                # A transport that was begun has closed it already: this is for the others.
                guest.stream.close()

    async def _peek(self, guest: _Guest) -> bytes:
        """The first byte, once there is one, left where it is; empty at the end of the stream."""
        stream = guest.stream
        readable = asyncio.Event()
        self._loop.add_reader(stream, readable.set)
        try:
            await readable.wait()
        finally:
            self._loop.remove_reader(stream)
        guest.spoke = True
        return stream.recv(1, socket.MSG_PEEK)

    async def _shake_hands(self, stream: socket.socket) -> None:
        await self._loop.connect_accepted_socket(
            self._make, stream, ssl=self._context(), ssl_handshake_timeout=self._rules.secs
        )

    def _turn_down(self, guest: _Guest) -> None:
        self._note(PLAIN, guest.address, f"{self._rules.setting} speaks TLS")
        guest.stream.recv(DRAIN_SIZE)
        guest.stream.send(self._rules.plain_answer)

    def _note(self, kind: str, address: str, reason: str) -> None:
        """Counts always, logs now and then: whoever can connect must not fill the log."""
        if kind != "accept":
            self._dropped(kind)
        now = self._loop.time()
        if now - self._logged_at < LOG_SECS:
            self._unlogged += 1
            return
        more, self._unlogged, self._logged_at = self._unlogged, 0, now
        log.warning(_TEXTS[kind], address=address, reason=reason, more=more)


def read_more(transport: asyncio.BaseTransport) -> None:
    """Its protocol knows now who it is: where it came by TLS, larger pieces are read from it."""
    stream = transport.get_extra_info("socket")
    if transport.get_extra_info("ssl_object") is not None and stream is not None:
        with contextlib.suppress(OSError):  # it is gone
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KNOWN_READ_SIZE)


def _told(task: asyncio.Task[None]) -> None:
    """A port that takes nobody any more, by a bug, must not do so silently."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.error("the port takes no more connections, by a bug", exc_info=error)


# What OpenSSL says of the other end, in words that name what to change.
_REASONS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": (
        "the client showed no certificate, which api.client_ca_file demands"
    ),
    "TLSV1_ALERT_UNKNOWN_CA": (
        "the client does not trust the authority that signed api.cert_file (its ca_file)"
    ),
    "SSLV3_ALERT_BAD_CERTIFICATE": "the client takes the certificate for bad",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the client takes the certificate for expired",
    "UNSUPPORTED_PROTOCOL": "the client speaks no TLS from 1.2 on",
}


def reason_of(error: OSError) -> str:
    """Why TLS failed, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the client's certificate was refused: {error.verify_message}"
    reason = getattr(error, "reason", None) or ""
    return _REASONS.get(reason) or reason or error.strerror or str(error) or "closed by the client"
