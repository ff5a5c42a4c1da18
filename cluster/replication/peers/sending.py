"""The connection on which a node sends to one peer: it dialled it, and hears nothing on it but the
handshake.

    CONNECTED --Verdict(welcome)--> READY --> LOST       anything unexpected: LOST

Messages of one round of the loop leave in one write.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import cast

from cluster.replication.peers.frames import (
    OVERHEAD,
    FrameError,
    FrameReader,
    Sealer,
)
from cluster.replication.peers.handshake import Dialling, Refused, Verdict
from cluster.replication.peers.introduction import Introduction
from cluster.replication.peers.timings import Timings
from cluster.replication.peers.trust import certifies


class SendingLink(asyncio.Protocol):
    """See the module. `ready` ends with None, or with the FrameError or ConnectionError that ended
    the connection before; `lost` when it is over. `on_ready` and `on_lost` are called at once,
    `on_lost` only after `on_ready`."""

    def __init__(
        self,
        dialling: Dialling,
        peer_id: str,
        certified: bool,
        timings: Timings,
        on_ready: Callable[[SendingLink], None],
        on_lost: Callable[[SendingLink], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        self.peer_id = peer_id
        self.ready: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()
        self.failure: Exception | None = None  # why it was ended, where this side ended it
        self._loop = loop
        self._dialling = dialling
        self._certified = certified
        self._timings = timings
        self._on_ready = on_ready
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._reader = FrameReader()
        self._sealer: Sealer | None = None
        self._out: list[bytes] = []
        self._out_size = 0
        self._written = 0  # bytes ever given to the transport
        self._unsent = 0  # of those, not yet taken by the system, as of the last look
        self._moved = 0
        self._moved_at = loop.time()

    @property
    def own(self) -> Introduction:
        """What this side said about itself."""
        return self._dialling.own

    @property
    def peer(self) -> Introduction | None:
        """Who is at the other end; proved once `ready` has ended well."""
        return self._dialling.peer

    # --- called by the transport ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Says Hello, if the certificate is the right one."""
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        ssl_object = cast("ssl.SSLObject | None", transport.get_extra_info("ssl_object"))
        if self._certified and not certifies(ssl_object, self.peer_id):
            text = f"the certificate at that address is not for {self.peer_id}"
            self._fail(Refused(Verdict.WRONG_CERTIFICATE, text))
            return
        self._transport.write(self._dialling.hello())

    def data_received(self, data: bytes) -> None:
        """Goes on with the handshake; afterwards nothing may come."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        try:
            if self._sealer is not None:
                raise FrameError("bytes on the connection that only this side writes to")
            self._reader.feed(data)
            while (frame := self._reader.next()) is not None:
                answer = self._dialling.receive(frame)
                if answer:
                    transport.write(answer)
            if self._dialling.message_key is not None:
                if self._reader.pending:
                    raise FrameError("bytes behind the verdict")
                self._sealer = Sealer(self._dialling.message_key)
        except FrameError as error:
            self._fail(error)
            return
        if self._sealer is not None:
            if not self.ready.done():
                self.ready.set_result(None)
            self._on_ready(self)

    def eof_received(self) -> bool:
        """The peer is gone: close."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tells everybody who waits."""
        self._transport = None
        self._out.clear()
        if not self.ready.done():
            text = "the peer closed the connection in the handshake (another secret or authority?)"
            self.ready.set_exception(self.failure or exc or ConnectionError(text))
            self.ready.exception()  # looked at: nobody may be waiting any more
        if not self.lost.done():
            self.lost.set_result(None)
        if self._sealer is not None:
            self._on_lost(self)

    @property
    def is_closing(self) -> bool:
        """Whether nothing more is taken, and `lost` follows."""
        return self._transport is None or self._transport.is_closing()

    # --- messages ---------------------------------------------------------------------------------

    def send(self, message: bytes) -> bool:
        """Queues a message; False where there is no room for it or no connection any more. Raises
        ValueError where it exceeds `MESSAGE_SIZE_MAX`."""
        transport, sealer = self._transport, self._sealer
        if transport is None or sealer is None or transport.is_closing():
            return False
        room = self._timings.unsent_size_max - len(message) - OVERHEAD
        if self._out_size + self._unsent > room:
            self._unsent = transport.get_write_buffer_size()
            if self._out_size + self._unsent > room:
                return False
        frame = sealer.seal(message)
        if not self._out:
            self._loop.call_soon(self.flush)
        self._out.append(frame)
        self._out_size += len(frame)
        return True

    def flush(self) -> None:
        """Writes what is queued; called in the next round of the loop, or sooner."""
        transport = self._transport
        if transport is None or not self._out:
            return
        if not self._unsent:
            self._moved_at = self._loop.time()
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        self._out_size = 0
        self._written += len(data)
        transport.write(data)
        self._unsent = transport.get_write_buffer_size()

    # --- the end ----------------------------------------------------------------------------------

    def review(self, now: float) -> None:
        """Now and then: ends the connection if what waits does not move."""
        transport = self._transport
        if transport is None:
            return
        self._unsent = transport.get_write_buffer_size()
        moved = self._written - self._unsent
        if not self._unsent or moved != self._moved:
            self._moved, self._moved_at = moved, now
        elif now - self._moved_at > self._timings.stall_secs:
            text = f"{self._unsent} bytes did not move for {self._timings.stall_secs:g} s"
            self._fail(TimeoutError(text))

    def close(self) -> None:
        """Closes when everything queued is with the system; `lost` says when."""
        if self._transport is not None:
            self.flush()
            self._transport.close()

    def abort(self) -> None:
        """Closes at once, whatever is unsent."""
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, error: Exception) -> None:
        self.failure = error
        self.abort()
